"""CIDEr-D prepared once, as a training reward: samples, saved document frequencies, endings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from captioner.errors import DataError
from captioner.metrics import Cider, CiderD, DocumentFrequency, cider_d, score

REFERENCES = [
    ["a dog runs on the grass", "the brown dog is running"],
    ["two cats sleep on a bed", "cats on the bed", "two sleeping cats"],
    ["a man rides a horse"],
]
CAPTIONS = ["a dog is running on grass", "two cats on a bed", "a horse and a man"]


def test_many_samples_of_an_image_score_as_each_alone() -> None:
    scorer = CiderD(REFERENCES)
    samples = ["two cats sleep", "a dog", "a bed", "the brown dog runs", "a dog", ""]
    indices = [1, 0, 1, 0, 2, 1]
    got = scorer.scores(samples, indices)
    for place, (sample, index) in enumerate(zip(samples, indices, strict=True)):
        captions = list(CAPTIONS)
        captions[index] = sample
        assert got[place] == pytest.approx(cider_d(captions, REFERENCES)[1][index], abs=1e-12)
    assert got[1] != got[4]


def test_a_new_ngram_twice_in_a_caption_weighs_as_one_of_count_two() -> None:
    scorer = CiderD(REFERENCES, tokenize=False)
    twice, once = scorer.scores(["new a dog new", "new a dog other"], [0, 0])
    # Same length and the same matches, but 2 squared weighs more than 1 squared twice.
    assert 0 < twice < once


def test_scoring_leaves_the_prepared_references_alone() -> None:
    scorer = CiderD(REFERENCES)
    before = scorer.scores(CAPTIONS)
    scorer.scores(["words that nobody wrote before", "so new", "unheard of"])
    np.testing.assert_array_equal(scorer.scores(CAPTIONS), before)


def test_no_candidates_give_no_scores() -> None:
    assert CiderD(REFERENCES).scores([], []).shape == (0,)


def test_saved_document_frequencies_give_the_same_scores(tmp_path: Path) -> None:
    expected = CiderD(REFERENCES).scores(CAPTIONS)
    for name in ("df.json", "df.json.gz"):
        DocumentFrequency.of(REFERENCES).save(tmp_path / name)
        df = DocumentFrequency.load(tmp_path / name)
        np.testing.assert_allclose(CiderD(REFERENCES, df=df).scores(CAPTIONS), expected, atol=1e-12)
        # One image alone can then be scored, also with n-grams that only the file knows.
        for place in range(3):
            alone = CiderD(REFERENCES[place : place + 1], df=df).scores([CAPTIONS[place]])
            assert alone[0] == pytest.approx(expected[place], abs=1e-12)


def test_the_signature_names_the_document_frequencies(tmp_path: Path) -> None:
    DocumentFrequency.of(REFERENCES).save(tmp_path / "train-df.json")
    df = DocumentFrequency.load(tmp_path / "train-df.json")
    scores = score(CAPTIONS, REFERENCES, df=df, bootstrap=0)
    assert "df:train-df.json(3 images)" in scores.signature
    assert "df:references" in score(CAPTIONS, REFERENCES, bootstrap=0).signature


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "not valid JSON"),
        ("[]", "does not hold document frequencies"),
        ({"format": "captioner-df-1"}, "damaged"),
        ({"format": "captioner-df-1", "images": 1, "document_frequency": {}}, "damaged"),
        ({"format": "captioner-df-1", "images": 5, "document_frequency": {"a": 6}}, "damaged"),
        ({"format": "captioner-df-1", "images": 5, "document_frequency": {"a": "1"}}, "damaged"),
    ],
)
def test_a_bad_file_of_document_frequencies_is_refused(tmp_path: Path, content, sentence) -> None:
    path = tmp_path / "df.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=sentence):
        DocumentFrequency.load(path)
    path.write_bytes(b"\x1f\x8b\x08cut off")
    with pytest.raises(DataError):
        DocumentFrequency.load(path)
    with pytest.raises(DataError, match="cannot be read"):
        DocumentFrequency.load(tmp_path / "none.json")


def test_an_end_token_rewards_captions_that_end() -> None:
    scorer = CiderD(REFERENCES, end_token="<end>")
    sample = "a man rides a horse"
    whole, cut = scorer.scores([sample, sample], [2, 2], ended=[True, False])
    assert whole == pytest.approx(10)
    assert cut < whole
    plain = CiderD([[f"{r} <end>" for r in group] for group in REFERENCES], tokenize=False)
    expected = plain.scores([f"{caption} <end>" for caption in CAPTIONS])
    np.testing.assert_allclose(scorer.scores(CAPTIONS), expected, atol=1e-12)


def test_plain_cider_has_neither_clipping_nor_length_penalty() -> None:
    repeated = ["a dog runs on the grass " * 3, *CAPTIONS[1:]]
    clipped = CiderD(REFERENCES).scores(repeated)
    plain = Cider(REFERENCES).scores(repeated)
    assert plain[0] > 2 * clipped[0]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda s: s.scores(["a"]), "1 candidates for 3 images"),
        (lambda s: s.scores(["a"], [0, 1]), "2 values for 1 candidates"),
        (lambda s: s.scores(["a"], [3]), "between 0 and 2"),
        (lambda s: s.scores(["a"], [-1]), "between 0 and 2"),
        (lambda s: s.scores([None], [0]), "list of strings"),
        (lambda s: s.scores(["a"], [0], ended=[True]), "give end_token"),
        (
            lambda s: CiderD(REFERENCES, end_token="<end>").scores(["a"], [0], ended=[]),
            "0 values for 1 candidates",
        ),
        (lambda s: s.scores("abc"), "list of strings"),
        (lambda s: CiderD(["a dog", "a cat"]), "must be a list of strings"),
        (lambda s: CiderD([["a dog"], []]), "Image 1 has no references"),
        (lambda s: CiderD([["a dog"]]), "one image is undefined"),
        (lambda s: score([], []), "nothing to score"),
        (lambda s: score(["a"], [["a"], ["b"]]), "1 candidates for 2 images"),
        (lambda s: score(["a", "b"], [["a"], ["b"]], ["CIDEr-X"]), "no metric 'CIDEr-X'"),
        (lambda s: score(["a", "b"], [["a"], ["b"]], bootstrap=-1), "0 or more"),
    ],
)
def test_misuse_is_refused_in_a_sentence(call, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        call(CiderD(REFERENCES))
