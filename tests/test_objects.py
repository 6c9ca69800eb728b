"""Which of COCO's 80 things a caption names."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.objects import WORDS, categories, mentions


def named(caption: str) -> list[tuple[str, str]]:
    """(what is named, "category or category") of each mention."""
    words = caption.split()
    return [(" ".join(words[m.start : m.stop]), " or ".join(m.categories)) for m in mentions(words)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man and two women.", [("man", "person"), ("women.", "person")]),
        ("Three puppies, geese and ponies",
         [("puppies,", "dog"), ("geese", "bird"), ("ponies", "horse")]),
        ("Hot dogs on a dining room table.",
         [("Hot dogs", "hot dog"), ("dining room table.", "dining table")]),
        ("a stuffed teddy bear and a polar bear",
         [("stuffed teddy bear", "teddy bear"), ("polar bear", "bear")]),
        ("a computer", [("computer", "tv or laptop")]),
        ("a bike", [("bike", "bicycle or motorcycle")]),
        ("a knife beside knives and glasses of wine",
         [("knife", "knife"), ("knives", "knife"), ("glasses of wine", "wine glass")]),
    ],
)  # fmt: skip
def test_synonyms_plurals_people_and_nouns_of_several_words(caption, expected):
    assert named(caption) == expected


@pytest.mark.parametrize(
    "caption",
    ["toilet paper at the train station", "people's", "an orange shirt", "train tracks",
     "the side of a street", "sandy beach", ""],
)  # fmt: skip
def test_other_things_are_not_counted(caption):
    assert named(caption) == []


def test_a_baby_elephant_is_no_person():
    assert named("a baby elephant") == [("elephant", "elephant")]
    assert named("a baby holding an elephant") == [("baby", "person"), ("elephant", "elephant")]


def test_a_man_who_skis_has_perhaps_no_skis():
    assert named("a man skis down a hill") == [("man", "person")]
    assert named("a man on skis") == [("man", "person"), ("skis", "skis")]


def test_every_category_is_named_by_its_own_name():
    told = tomllib.loads(WORDS.read_text())["words"]
    assert len(told) == 80 and categories() == tuple(told)
    for category in categories():
        if category != "orange":  # mostly a colour
            assert category in mentions(category.split())[0].categories


def test_the_categories_are_those_of_coco_in_its_order(data: Path):
    file = data / "coco2017-mini" / "annotations" / "instances_val2017.json"
    listed = json.loads(file.read_text())["categories"]
    assert categories() == tuple(c["name"] for c in listed)


@given(
    st.lists(
        st.sampled_from(["a", "man", "baby", "hot", "dog", "bear", "skis", "train", "station"])
    )
)
def test_mentions_stand_in_order_and_do_not_overlap(words):
    ends = [0] + [edge for m in mentions(words) for edge in (m.start, m.stop)]
    assert ends == sorted(ends) and ends[-1] <= len(words)
    assert all(m.start < m.stop for m in mentions(words))
