"""A setting of a caption is declared once; the command, the page's API and the call follow it."""

import dataclasses
import inspect
import json
from dataclasses import dataclass

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from captioner.captioner import Captioner
from captioner.errors import CaptionerError, SettingError
from captioner.generation import Search
from captioner.options import flags, with_settings
from captioner.request import Keywords, Request
from captioner.settings import checked, setting, settings_of


@dataclass(frozen=True)
class Longer(Request):
    """A request with one more setting: the one edit that a new setting takes."""

    shout: int = setting(0, "How many exclamation marks to add.", least=0, most=3, value="N")


def command_of(kind: type) -> tuple[typer.Typer, list]:
    seen: list = []

    @with_settings
    def run(*, path: str = "", request: kind) -> None:
        seen.append(request)

    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(run)
    return app, seen


def test_a_new_setting_is_one_edit():
    app, seen = command_of(Longer)
    result = CliRunner().invoke(app, ["--shout", "2", "--beams", "4"])
    assert result.exit_code == 0 and seen == [Longer(shout=2, beams=4)]
    assert "How many exclamation marks" in CliRunner().invoke(app, ["--help"]).output
    assert checked(Longer, {"shout": 3}) == Longer(shout=3)
    with pytest.raises(CaptionerError, match="shout is a number from 0 to 3, not 4"):
        checked(Longer, {"shout": 4})


def test_every_option_reaches_its_field():
    given = {
        "beams": 5, "alternatives": 2, "length_penalty": 0.5, "min_length": 3, "max_length": 20,
        "no_repeat": 3, "prefix": "Two", "without": ("man", "dog"), "sample": True,
        "temperature": 0.8, "top_k": 50, "top_p": 0.9, "seed": 7,
        "prompt": "What is he holding?", "style": "alt", "explain": "A dog.",
        "heatmaps": "evidence",
    }  # fmt: skip
    app, seen = command_of(Request)
    line: list[str] = []
    for name, value in given.items():
        values = value if isinstance(value, tuple) else [value]
        for one in values:
            line += [flags(Request)[name]] + ([] if one is True else [str(one)])
    assert set(given) == set(flags(Request))
    assert CliRunner().invoke(app, line).exit_code == 0
    assert seen == [Request(**given)]
    as_json = {n: list(v) if isinstance(v, tuple) else v for n, v in given.items()}
    assert checked(Request, json.loads(json.dumps(as_json))) == Request(**given)


def test_the_keywords_of_the_call_are_the_fields():
    fields = [f.name for f in dataclasses.fields(Request)]
    assert list(Keywords.__annotations__) == fields
    signature = inspect.signature(Captioner.caption, eval_str=False)
    keywords = [
        p.name for p in signature.parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name not in ("limits", "batch_size", "on_error")
    ]  # fmt: skip
    assert keywords == fields
    assert all(signature.parameters[name].default is None for name in fields)


def test_the_keywords_change_the_request(model):
    import numpy as np
    import torch

    small = Captioner(model, device=torch.device("cpu"), dtype=torch.float32)
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    asked = Request(beams=4, alternatives=3, max_length=6)
    assert small.caption(photo, asked) == small.caption(
        photo, beams=4, alternatives=3, max_length=6
    )
    assert len(small.caption(photo, asked, alternatives=1).alternatives) == 1
    assert small.caption(photo, asked, heatmaps=False).words[0].heatmap is None
    with pytest.raises(CaptionerError, match="did you mean beams"):
        small.caption(photo, num_beams=2)


def test_every_setting_has_a_sentence_and_every_number_bounds():
    for known in settings_of(Request).values():
        assert known.about.help[0].isupper() and known.about.help.endswith(".")
        if known.type in (int, float):
            assert known.about.least < known.about.most, known.name


def test_heatmaps_may_be_asked_for_by_yes_and_no():
    assert Request(heatmaps=True) == Request() and Request().heatmaps == "attention"
    assert not Request(heatmaps=False).heatmaps and not Request().with_(heatmaps=False).heatmaps


def test_a_word_is_no_list_of_letters():
    assert Request(without="table").without == ("table",)
    assert Request(without=[" table ", ""]).without == ("table",)


def test_what_is_not_given_is_the_model_s_own():
    base = Search(beams=4, length_penalty=1.0, max_length=20)
    assert Request().search(base) == base
    assert Request(alternatives=2).search(base) == base.with_(returned=3)
    with pytest.raises(CaptionerError, match="at least 5; beams is 4"):
        Request(alternatives=4).search(base)


@pytest.mark.parametrize(
    "values",
    [[], {"beam": 3}, {"beams": 2.5}, {"beams": True}, {"beams": "3"}, {"beams": 0},
     {"seed": -1}, {"sample": 1}, {"prefix": 3}, {"prefix": "x" * 201}, {"without": "man"},
     {"without": ["x"] * 21}, {"without": [3]}, {"temperature": float("nan")}],
)  # fmt: skip
def test_what_comes_over_the_net_is_checked(values):
    with pytest.raises(CaptionerError):
        checked(Request, values)


@given(st.dictionaries(
    st.sampled_from([f.name for f in dataclasses.fields(Request)]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
))  # fmt: skip
def test_whatever_comes_is_a_request_or_a_sentence(values):
    try:
        made = checked(Request, values)
    except CaptionerError as error:
        assert str(error).endswith(".")
    else:
        for name, value in values.items():
            if value is not None and name != "without":
                assert getattr(made, name) == value


def test_an_error_speaks_of_what_the_person_sees():
    error = SettingError("2 `alternatives` need `beams` of at least 3; `x` stays.")
    assert str(error) == "2 alternatives need beams of at least 3; x stays."
    assert (
        error.with_names(flags(Request)) == "2 --alternatives need --beams of at least 3; x stays."
    )
