"""The model in the box: what it writes does not change unseen, and it scores as its card says."""

import itertools
import json
import re

import pytest

import captioner
from captioner.ensemble import load_model
from captioner.metrics import cider_d
from captioner.photos import find_photos
from captioner.samples import sample_photos
from captioner.tokenizer import CaptionTokenizer

from .conftest import ROOT

GOLDEN = ROOT / "tests" / "golden_captions.json"


@pytest.fixture(scope="module")
def model(builtin):
    return captioner.load(builtin, device="cpu", dtype="float32")


def test_golden_captions(model):
    """Exact in float32: a library that changes a caption is seen here first."""
    pytest.importorskip("skimage")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    written = {p.name: model.caption(p, heatmaps=False).text for p in sample_photos()}
    assert written == golden


def test_one_at_a_time_and_together_are_the_same(model):
    pytest.importorskip("skimage")
    files = sample_photos()
    together = model.caption(files)
    for file, caption in zip(files, together, strict=True):
        alone = model.caption(file)
        assert alone.text == caption.text
        assert alone.confidence == pytest.approx(caption.confidence, abs=1e-4)


def test_its_own_caption_explained_is_the_caption(model):
    pytest.importorskip("skimage")
    written = model.caption(sample_photos()[0])
    read = model.explain(sample_photos()[0], written.text)
    assert read.text == written.text
    assert read.score == pytest.approx(written.score, rel=1e-4)
    for a, b in zip(read.words, written.words, strict=True):
        assert a.text == b.text
        assert a.probability == pytest.approx(b.probability, rel=1e-4)
        assert abs(a.heatmap - b.heatmap).max() < 1e-5


def test_the_package_holds_it_in_at_most_40_mb(builtin):
    files = {p.name: p.stat().st_size for p in builtin.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md"} <= set(files)
    assert sum(files.values()) <= 40e6


def test_saving_it_again_gives_the_same_bytes(builtin, tmp_path):
    load_model(builtin).save(tmp_path)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (builtin / name).read_bytes(), name


def test_the_card_names_its_scores_and_their_command(builtin):
    card = (builtin / "MODEL_CARD.md").read_text(encoding="utf-8")
    about = json.loads((builtin / "config.json").read_text(encoding="utf-8"))["about"]
    assert "python -m eval coco" in card
    for figures in about["scores"].values():
        assert f"{figures['CIDEr-D']:.3f}" in card


@pytest.mark.long
def test_captions_of_the_validation_photos_are_sentences_and_score(model, builtin, data):
    """200 photos of each set: the floor is well below the card's figures on the whole sets."""
    about = json.loads((builtin / "config.json").read_text(encoding="utf-8"))["about"]
    sets = {
        "Flickr8k validation": ("flickr8k/images", "flickr8k/captions_val.json"),
        "COCO val2017 (208 photos)": (
            "coco2017-mini/val2017", "coco2017-mini/annotations/captions_val2017.json",
        ),
    }  # fmt: skip
    for name, (images, annotations) in sets.items():
        content = json.loads((data / annotations).read_text(encoding="utf-8"))
        photos = content["images"][:200]
        references = [
            [a["caption"] for a in content["annotations"] if a["image_id"] == p["id"]]
            for p in photos
        ]
        files = [data / images / p["file_name"] for p in photos]
        captions = [c.text for c in model.caption(files, heatmaps=False)]
        for caption in captions:
            check_sentence(caption)
        value, _ = cider_d(captions, references)
        assert value > 0.85 * about["scores"][name]["CIDEr-D"]


def check_sentence(caption: str) -> None:
    assert caption[0].isupper() or caption[0].isdigit(), caption
    assert caption.endswith(".") and " ." not in caption and "  " not in caption, caption
    words = re.findall(r"[\w'-]+", caption.lower())
    assert not any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False))
    assert words[-1] not in UNFINISHED, caption
    assert not any(token in caption for token in ("<unk>", "<eos>", "<bos>", "<pad>", "�"))


# Words that no English sentence ends with; "looks on" and "next to her" are whole.
UNFINISHED = {
    "a", "an", "the", "of", "and", "or", "with", "in", "at", "to", "from", "for", "by", "is",
    "are", "his", "their", "its",
}  # fmt: skip


def test_the_tokenizer_knows_everyday_words_whole(builtin):
    tokenizer = CaptionTokenizer.load(builtin / "tokenizer.json")
    for word in ("dog", "man", "pizza", "bus", "kitchen", "zebra", "snowboard", "giraffe"):
        assert len(tokenizer.encode(f"a {word}")) == 2, word


def test_samples_can_be_found():
    pytest.importorskip("skimage")
    assert len(find_photos(sample_photos())) == len(sample_photos())
    assert all(a != b for a, b in itertools.pairwise(sample_photos()))
