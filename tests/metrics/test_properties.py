"""What must hold of the scores whatever the captions are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import DataError
from captioner.metrics import DEFAULT_METRICS, CiderD, bleu, cider_d, rouge_l, score
from captioner.metrics.ngrams import ReferenceNgrams

WORDS = st.sampled_from([f"w{n}" for n in range(12)])
CAPTIONS = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
IMAGES = st.tuples(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=4))
CORPORA = st.lists(IMAGES, min_size=2, max_size=5)
quick = settings(deadline=None, max_examples=60)


def split(corpus):
    return [caption for caption, _ in corpus], [group for _, group in corpus]


@given(st.lists(CAPTIONS, min_size=2, max_size=5))
@quick
def test_a_caption_equal_to_its_only_reference_scores_the_maximum(captions: list[str]) -> None:
    """CIDEr-D: 10 times the share of n = 1..4 for which any n-gram has weight; the rest: 1."""
    references = [[caption] for caption in captions]
    _, each = cider_d(captions, references, tokenize=False)
    idf = CiderD(references, tokenize=False)
    images = len(captions)
    for place, caption in enumerate(captions):
        words = caption.split()
        weighty = 0
        for n in range(1, 5):
            grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
            weighty += any(holders(gram, captions) < images for gram in grams)
        assert each[place] == pytest.approx(10 * weighty / 4, abs=1e-9)
    assert rouge_l(captions, references, tokenize=False)[0] == pytest.approx(1)
    long = [place for place, caption in enumerate(captions) if len(caption.split()) >= 4]
    np.testing.assert_allclose(bleu(captions, references, tokenize=False)[1][long], 1, atol=1e-7)
    assert idf.ngrams.images == images


def holders(gram: tuple, captions: list[str]) -> int:
    """How many captions hold an n-gram."""
    return sum(f" {' '.join(gram)} " in f" {caption} " for caption in captions)


@given(CORPORA, st.randoms(use_true_random=False))
@quick
@pytest.mark.slow
def test_the_order_of_references_changes_nothing(corpus, random) -> None:
    captions, references = split(corpus)
    shuffled = [random.sample(group, len(group)) for group in references]
    before = score(captions, references, bootstrap=0, tokenize=False)
    after = score(captions, shuffled, bootstrap=0, tokenize=False)
    for name in DEFAULT_METRICS:
        np.testing.assert_allclose(before[name].per_image, after[name].per_image, atol=1e-12)


@given(CORPORA, st.randoms(use_true_random=False))
@quick
@pytest.mark.slow
def test_the_order_of_images_changes_nothing(corpus, random) -> None:
    order = random.sample(range(len(corpus)), len(corpus))
    before = score(*split(corpus), bootstrap=0, tokenize=False)
    after = score(*split([corpus[place] for place in order]), bootstrap=0, tokenize=False)
    for name in DEFAULT_METRICS:
        assert before[name].value == pytest.approx(after[name].value, abs=1e-12)
        np.testing.assert_allclose(before[name].per_image[order], after[name].per_image, atol=1e-12)


@given(CORPORA)
@quick
@pytest.mark.slow
def test_an_unrelated_image_changes_only_the_idf(corpus) -> None:
    captions, references = split(corpus)
    before = score(captions, references, bootstrap=0, tokenize=False)
    more = score([*captions, "u v x y"], [*references, ["u v x y"]], bootstrap=0, tokenize=False)
    for name in DEFAULT_METRICS:
        if name != "CIDEr-D":
            np.testing.assert_array_equal(before[name].per_image, more[name].per_image[:-1])
    counts = ReferenceNgrams(references), ReferenceNgrams([*references, ["u v x y"]])
    old, new = (
        dict(zip(n.texts(1), n.levels[0].document_frequency().tolist(), strict=True))
        for n in counts
    )
    assert {word: new[word] for word in old} == old
    scorer = CiderD([*references, ["u v x y"]], tokenize=False)
    assert scorer.log_images == pytest.approx(math.log(len(corpus) + 1))


@given(CORPORA)
@quick
def test_scores_stay_in_their_range(corpus) -> None:
    scores = score(*split(corpus), bootstrap=0, tokenize=False)
    for name in DEFAULT_METRICS:
        top = 10 if name == "CIDEr-D" else 1
        assert (scores[name].per_image >= 0).all()
        assert (scores[name].per_image <= top + 1e-9).all()


@given(CORPORA)
@quick
@pytest.mark.slow
def test_the_interval_holds_the_value_and_is_the_seeds(corpus) -> None:
    captions, references = split(corpus)
    first = score(captions, references, bootstrap=200, tokenize=False)
    again = score(captions, references, bootstrap=200, tokenize=False)
    other = score(captions, references, bootstrap=200, seed=1, tokenize=False)
    assert first.to_dict() == again.to_dict()
    assert first["CIDEr-D"].value == other["CIDEr-D"].value
    for name in ("CIDEr-D", "ROUGE-L"):
        metric = first[name]
        assert metric.per_image.min() - 1e-12 <= metric.low <= metric.high
        assert metric.high <= metric.per_image.max() + 1e-12


def test_intervals_narrow_as_images_are_added() -> None:
    random = np.random.default_rng(0)
    words = [f"w{n}" for n in range(30)]
    captions = [" ".join(random.choice(words, 6)) for _ in range(900)]
    references = [[" ".join(random.choice(words, 6)) for _ in range(3)] for _ in captions]
    few = score(captions[:100], references[:100], tokenize=False)["ROUGE-L"]
    many = score(captions, references, tokenize=False)["ROUGE-L"]
    assert few.low < few.value < few.high
    assert many.low < many.value < many.high
    # The spread of a mean falls with the root of the number: by 3 here.
    assert 2 < (few.high - few.low) / (many.high - many.low) < 4.5


def test_the_bootstrap_spread_is_the_standard_error() -> None:
    random = np.random.default_rng(1)
    captions = [" ".join(random.choice(["a", "b", "c", "d"], 5)) for _ in range(400)]
    references = [["a b c d a"]] * 400
    metric = score(captions, references, ("ROUGE-L",), bootstrap=4000, tokenize=False)["ROUGE-L"]
    error = metric.per_image.std() / math.sqrt(400)
    assert (metric.high - metric.low) / 2 == pytest.approx(1.96 * error, rel=0.08)


@given(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=3))
@quick
def test_cider_of_one_image_is_refused_and_not_zero(caption: str, group: list[str]) -> None:
    with pytest.raises(DataError, match="one image is undefined"):
        cider_d([caption], [group], tokenize=False)
    assert rouge_l([caption], [[*group, caption]], tokenize=False)[0] == pytest.approx(1)
