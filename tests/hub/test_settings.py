"""What every family makes of the settings of a caption, and what is told of it."""

import json
import shutil

import pytest

from captioner.cli import info
from captioner.page.models import Models
from captioner.request import Request

from .checkpoints import photos

FAMILIES = [
    ("blip", 0), ("encoder_decoder", "vit", "gpt2"), ("florence2",), ("pix2struct",), ("git",),
    ("qformer", "blip2", "opt"), ("kosmos2",), ("chat", "llava"),
]  # fmt: skip
DRAWN = Request(max_length=6, min_length=3, heatmaps=False)
ASKED = DRAWN.with_(beams=2)


@pytest.mark.parametrize("kind", FAMILIES, ids=lambda kind: kind[0])
def test_words_are_drawn_done_without_and_begun_with(loaded, kind):
    model, images = loaded(*kind), photos(16, 5)
    plain = model.caption(images, ASKED)
    # Random models write strange things: the first token that is a word by itself.
    first = next(word for c in plain if (word := begins(model, c)).isalnum() and word.isascii())
    without = model.caption(images, ASKED, without=first)
    assert all(begins(model, c).lower() != first.lower() for c in without)
    drawn = [
        [c.text for c in model.caption(images[:3], DRAWN, sample=True, seed=seed)]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    for caption in model.caption(images[:3], ASKED, prefix="a dog", max_length=9):
        assert caption.text.lower().startswith("a dog")
    several = model.caption(images[0], ASKED, alternatives=1)
    [other] = several.alternatives
    assert other.score <= several.score and other.ids != several.ids


def begins(model, caption) -> str:
    """What the first token of a caption that writes anything writes."""
    pieces = [piece for piece in model.model.tokenizer.pieces(caption.ids) if piece.strip()]
    return pieces[0].decode(errors="replace").strip() if pieces else ""


def test_info_of_a_hub_model(made, tmp_path, capsys):
    folder = tmp_path / "blip"
    shutil.copytree(made("blip", 0), folder)
    (folder / "README.md").write_text("---\nlicense: bsd-3-clause\n---\n# BLIP\n\nA card.")
    info(str(folder), as_json=False)
    told = capsys.readouterr().out
    for words in ("blip", "million parameters", "bsd-3-clause", "cross-attention, 2 layers"):
        assert words in told
    info(str(folder), as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["license"] == "bsd-3-clause" and facts["parameters"] > 1000
    models = Models([str(folder)], device="cpu")
    card = models.card(models.names[0])
    assert card.startswith("**Licence of blip: bsd-3-clause**") and card.endswith("A card.")
