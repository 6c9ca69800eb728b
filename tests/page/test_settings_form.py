"""The form of settings is made from the fields of the request."""

from dataclasses import dataclass

import pytest

pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")

from captioner.generation import Search
from captioner.html import render
from captioner.page.assets import static
from captioner.page.settings import controls, labels, model_and_request
from captioner.request import Request
from captioner.settings import checked, setting, settings_of


@dataclass(frozen=True)
class Longer(Request):
    """A request with more settings: the one edit that each takes."""

    shout: int = setting(0, "How many exclamation marks to add.", least=0, most=3, label="Shout")
    lean: float = setting(0.5, "How far to lean.", least=-2, most=2, label="Lean")
    hidden: int = setting(0, "Only for programs.", least=0, most=3)


def test_a_setting_with_a_label_has_a_control_with_its_help_bounds_and_default():
    made = {c.name: c for c in controls(Longer, Search(beams=4), alternatives=2)}
    assert list(made) == [n for n, known in settings_of(Longer).items() if known.about.label]
    shout = made["shout"]
    assert (shout.label, shout.kind, shout.value) == ("Shout", "slider", "0")
    assert (shout.least, shout.most) == ("0", "3") and "exclamation" in shout.help
    assert made["beams"].value == "4", "the model's own"
    assert made["alternatives"].value == "2", "the page's"
    assert made["seed"].kind == "number" and made["without"].kind == "words"
    assert labels(Longer)["shout"] == "“Shout”" and "hidden" not in labels(Longer)


@pytest.fixture
def form(browser):
    """A page with nothing but the form, for a request with more settings."""
    markup = render(
        "captioner.page",
        "settings.html",
        part="x",
        models=["one", "two"],
        controls=controls(Longer, Search()),
    )
    page = browser.new_page()
    page.set_content(f"<div id=here>{markup}</div>")
    page.evaluate(
        "(script) => Function('element', 'part', script)(document, "
        "(name) => document.querySelector(`[data-part=${name}]`))",
        static("settings.js"),
    )
    page.click("summary")
    yield page
    page.close()


def test_what_is_changed_in_the_form_is_what_the_server_takes(form):
    sent = lambda: form.evaluate("window.captionerSettings")  # noqa: E731
    assert sent() == {}
    form.get_by_label("Shout").fill("3")
    form.get_by_label("Lean").fill("-1.5")
    form.get_by_label("Draw at random").check()
    form.get_by_label("Words to do without").fill("man, woman dog")
    form.get_by_label("The caption begins with").fill(" Two people ")
    form.get_by_label("Seed").fill("12345")
    assert checked(Longer, sent()) == Longer(
        shout=3, lean=-1.5, sample=True, without=("man", "woman", "dog"), prefix="Two people",
        seed=12345,
    )  # fmt: skip
    form.get_by_label("Model").select_option("two")
    assert sent()["model"] == "two"
    said = form.inner_text("summary")
    assert "Shout: 3" in said and "Draw at random" in said and "man, woman, dog" in said
    form.get_by_label("Lean").fill("99")  # the field of a number holds what the bounds allow
    form.get_by_label("Lean").blur()
    assert form.get_by_label("Lean").input_value() == "2" and sent()["lean"] == 2
    form.get_by_label("Seed").fill("")
    assert "seed" not in sent()
    form.get_by_role("button", name="As the model has it").click()
    assert sent() == {} and form.get_by_label("Shout").input_value() == "0"
    assert form.inner_text("summary").strip() == "Settings"


class Models:
    """Models whose search has 4 beams."""

    @staticmethod
    def get(name):
        class Captioner:
            def search(self, request):
                return request.search(Search(beams=4))

        return Captioner()


@pytest.mark.parametrize(
    ("options", "given"),
    [(None, 2), ({}, 2), ({"beams": 2}, 1), ({"beams": 1}, 0), ({"alternatives": 0}, 0),
     ({"sample": True}, 2), ({"alternatives": 3}, 3)],
)  # fmt: skip
def test_the_page_shows_others_as_far_as_the_beams_allow(options, given):
    assert model_and_request(Models, options, 2)[1].alternatives == given
