"""The tokens are those of the Java tokenizer: recorded ones, generated captions, real captions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.metrics.ptb import PUNCTUATION, ptb_tokenize
from tests.metrics.conftest import DATA
from tests.metrics.ptb_grammar import GOLDEN, captions, differences
from tests.metrics.reference import java_tokens

# Java ends a line at these; pycocoevalcap then gives every later caption another one's tokens.
LINE_BREAKS = "\n\r\x0b\x0c\u2028\u2029"

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=LINE_BREAKS))
ascii_texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
hard_texts = st.text("aBdnst.'’&;-/<>@:)(015½ \xa0é,$#_\"", max_size=20)


def test_recorded_tokens() -> None:
    golden = json.loads(GOLDEN.read_text())
    found = ptb_tokenize(list(golden))
    assert dict(zip(golden, found, strict=True)) == golden


def test_punctuation_is_what_the_evaluation_removes() -> None:
    assert len(PUNCTUATION) == 17
    assert ptb_tokenize(["(a man) , his dog ; ... -- `` x '' ! ? : ."]) == [
        "-lrb- a man -rrb- his dog x"
    ]


def test_a_caption_of_nothing_has_no_tokens() -> None:
    assert ptb_tokenize(["", " ", ".", "\t\xa0", "-"]) == [""] * 5
    assert ptb_tokenize([]) == []


def test_newlines_are_spaces_and_other_line_breaks_end_a_caption() -> None:
    assert ptb_tokenize(["a\ncat", "a\rcat", "a\u2028cat", "a dog"]) == ["a cat", "a", "a", "a dog"]


def test_lone_surrogates_are_dropped() -> None:
    assert ptb_tokenize(["a \ud83d cat", "a\udc36cat"]) == ["a cat", "a cat"]


def test_a_last_letter_looks_at_the_next_caption() -> None:
    assert ptb_tokenize(["plan B.", "The end"]) == ["plan b", "the end"]
    assert ptb_tokenize(["plan B.", "the end"]) == ["plan b.", "the end"]


@given(st.lists(texts | hard_texts, max_size=5))
def test_tokens_are_clean_whatever_the_text(some: list[str]) -> None:
    found = ptb_tokenize(some)
    assert len(found) == len(some)
    for tokens in found:
        assert "" not in tokens.split(" ") or tokens == ""
        assert not PUNCTUATION & set(tokens.split(" "))
        assert not set("\n\t ") & set(tokens.replace(" ", ""))
    assert ptb_tokenize(some) == found  # from memory as from the rules


@given(st.lists(st.text("abcdefgh ", max_size=20), min_size=1, max_size=4))
def test_plain_words_come_back(some: list[str]) -> None:
    assert ptb_tokenize([s.upper() for s in some]) == [" ".join(s.split()) for s in some]


@pytest.mark.usefixtures("java")
@settings(max_examples=6, derandomize=True, deadline=None)
@given(st.lists(texts | ascii_texts | hard_texts, min_size=50, max_size=400))
def test_any_text_as_java(some: list[str]) -> None:
    assert differences(some, ptb_tokenize(some), java_tokens(some)) == []


@pytest.mark.usefixtures("java")
def test_generated_captions_as_java() -> None:
    generated = [caption for seed in range(4) for caption in captions(seed, 30_000)]
    found = differences(generated, ptb_tokenize(generated), java_tokens(generated))
    assert len(found) < len(generated) / 10_000, found


def _annotated(path: Path) -> list[str]:
    content = json.loads(path.read_text())
    if isinstance(content, dict):
        content = content["annotations"]
    return [entry["caption"] for entry in content]


@pytest.mark.usefixtures("java")
@pytest.mark.parametrize(
    "name",
    [
        "scoring/captions_val2017.json",
        "scoring/coco_karpathy_test_references.json",
        "scoring/coco_karpathy_test_results_magic.json",
        "flickr8k/captions_train.json",
        "flickr8k/captions_val.json",
        "coco-more/captions_train.json",
        "flickr30k-mini/captions_train.json",
        "text/coco_captions.txt.gz",
        pytest.param("text/flickr30k_captions.txt.gz", marks=pytest.mark.long),
    ],
)
def test_real_captions_as_java(name: str) -> None:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"no {path}; set CAPTIONER_DATA to the folder of the shared data")
    if name.endswith(".gz"):
        real = gzip.decompress(path.read_bytes()).decode().split("\n")
    else:
        real = _annotated(path)
    assert differences(real, ptb_tokenize(real), java_tokens(real)) == []
