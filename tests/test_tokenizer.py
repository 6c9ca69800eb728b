"""Text to ids and back, sentences, and which tokens form which word."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.errors import ModelError
from captioner.tokenizer import CaptionTokenizer, clean_caption, sentence

from .conftest import CAPTIONS

TOKENIZER = CaptionTokenizer.train(CAPTIONS, 300)


@given(st.text())
def test_every_string_has_ids_and_comes_back(text):
    ids = TOKENIZER.encode(text)
    # Normal form and lower case are part of the encoding; letters whose lower case changes when
    # it is composed are the library's business.
    assert all(3 <= i < len(TOKENIZER) for i in ids)
    again = TOKENIZER.decode(ids)
    assert TOKENIZER.decode(TOKENIZER.encode(again)) == TOKENIZER.decode(
        TOKENIZER.encode(TOKENIZER.decode(TOKENIZER.encode(again)))
    )


@given(
    st.lists(
        st.sampled_from(["a", "dog", "t-shirt", "plays", "snow,", "won't", "2", "café"]), min_size=1
    )
)
def test_words_cover_their_tokens(words):
    ids = TOKENIZER.encode(" ".join(words))
    spans = TOKENIZER.words(ids)
    text = TOKENIZER.sentence(ids)
    assert [s.text for s in spans] == [w.strip(",.") for w in text.split()]
    for span, later in itertools.pairwise(spans):
        assert span.start < span.stop <= later.start
    for span in spans:
        assert span.text.lower() in TOKENIZER.decode(ids[span.start : span.stop]).lower()


def test_a_rare_word_is_one_word_of_many_tokens():
    ids = TOKENIZER.encode("a zebra-striped dog")
    assert len(ids) > 3
    assert [s.text for s in TOKENIZER.words(ids)] == ["A", "zebra-striped", "dog"]


@pytest.mark.parametrize(
    "raw, clean",
    [
        ("A black dog runs over the snow .", "a black dog runs over the snow"),
        ("Two dogs , one brown .  ", "two dogs, one brown"),
        ("The dog 's ball", "the dog's ball"),
        ("He does n't run", "he doesn't run"),
        ('A man says "go" .', "a man says go"),
        ("A man\nand a\tdog.", "a man and a dog"),
        (" . ", ""),
    ],
)
def test_captions_are_cleaned(raw, clean):
    assert clean_caption(raw) == clean


@pytest.mark.parametrize(
    "raw, proper",
    [
        ("a dog runs", "A dog runs."),
        ("éclairs on a plate", "Éclairs on a plate."),
        ("", ""),
        ("a dog runs.", "A dog runs."),
        ("what i see", "What I see."),
        ("2 dogs", "2 dogs."),
    ],
)
def test_captions_read_as_sentences(raw, proper):
    assert sentence(raw) == proper


@pytest.mark.parametrize("raw", ["what i see", "i'm here", "it is i", "an i.e. of it"])
def test_words_are_written_as_in_the_sentence(raw):
    ids = TOKENIZER.encode(raw)
    words = [word.text for word in TOKENIZER.words(ids)]
    assert words == TOKENIZER.sentence(ids).rstrip(".").split() or "i.e" in words


def test_json_round_trip_is_the_same_bytes():
    text = TOKENIZER.to_json()
    assert CaptionTokenizer.from_json(text).to_json() == text


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '{"model": {"type": "BPE"}}', "\x00"])
def test_a_foreign_tokenizer_is_refused(text):
    with pytest.raises(ModelError):
        CaptionTokenizer.from_json(text)
