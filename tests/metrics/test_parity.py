"""Our scores against pycocoevalcap's on the same tokens, in the corpus and for every image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.metrics import DEFAULT_METRICS, bleu, cider, cider_d, rouge_l, score
from captioner.metrics.matching import match
from captioner.metrics.readers import read_references, read_results
from captioner.metrics.tokens import prepare
from tests.metrics.reference import GOLDEN, java_tokens, paper_cider, pycocoevalcap_scores

EXACT = {"rtol": 0, "atol": 1e-9}

# Few words, so that n-grams repeat within and between captions; and the tokens that look odd: a
# fraction that holds a no-break space, which str.split splits and split(" ") does not.
WORDS = st.sampled_from(["a", "dog", "cat", "on", "the", "mat", "!!!", "1\xa01/2", "-lrb-", "é"])
CAPTIONS = st.lists(WORDS, max_size=9).map(" ".join)
IMAGES = st.tuples(CAPTIONS, st.lists(CAPTIONS, min_size=1, max_size=4))
# The reference breaks where no reference has any word.
CORPORA = st.lists(IMAGES, min_size=2, max_size=6).filter(
    lambda corpus: any(reference for _, group in corpus for reference in group)
)


def assert_same(captions: list[str], references: list[list[str]]) -> None:
    pytest.importorskip("pycocoevalcap", reason="captioner[java-metrics] is not installed")
    ours = score(captions, references, bootstrap=0, tokenize=False)
    for name, (corpus, each) in pycocoevalcap_scores(captions, references).items():
        np.testing.assert_allclose(ours[name].value, corpus, err_msg=name, **EXACT)
        np.testing.assert_allclose(ours[name].per_image, each, err_msg=name, **EXACT)


@given(CORPORA)
@settings(deadline=None, max_examples=150)
@pytest.mark.slow
def test_random_corpora_score_as_in_the_reference(corpus: list[tuple[str, list[str]]]) -> None:
    assert_same([caption for caption, _ in corpus], [group for _, group in corpus])


@given(CORPORA)
@settings(deadline=None, max_examples=50)
def test_plain_cider_is_the_papers(corpus: list[tuple[str, list[str]]]) -> None:
    captions, references = [c for c, _ in corpus], [group for _, group in corpus]
    mean, each = cider(captions, references, tokenize=False)
    np.testing.assert_allclose(each, paper_cider(captions, references), **EXACT)
    assert mean == pytest.approx(each.mean(), abs=1e-12)


def test_unequal_numbers_of_references_and_empty_captions_score_as_in_the_reference() -> None:
    assert_same(
        ["", "a b c d e", "a", "x x x x x x"],
        [["a b", ""], ["a b c d e"], ["", "", "a a a"], ["x x", "y", "x", "x x x", "z"]],
    )


def test_references_without_any_word_score_nothing() -> None:
    scores = score(["a dog", "."], [["."], ["!", "?"]], bootstrap=0)
    assert scores["CIDEr-D"].value == 0
    assert scores["BLEU-1"].value < 1e-9
    assert scores["ROUGE-L"].per_image.tolist() == [0, 1]  # an empty token equals an empty token


def test_plain_functions_and_the_joint_call_agree() -> None:
    captions = ["A dog runs.", "Two cats sleep on a bed."]
    references = [["A dog is running.", "The dog runs!"], ["Two cats on a bed."]]
    joint = score(captions, references, (*DEFAULT_METRICS, "CIDEr"), bootstrap=0)
    assert joint["CIDEr-D"].value == cider_d(captions, references)[0]
    assert joint["CIDEr"].value == cider(captions, references)[0]
    assert joint["ROUGE-L"].value == rouge_l(captions, references)[0]
    corpus, each = bleu(captions, references)
    for n in range(4):
        assert joint[f"BLEU-{n + 1}"].value == corpus[n]
        np.testing.assert_array_equal(joint[f"BLEU-{n + 1}"].per_image, each[:, n])


def test_recorded_scores_of_the_reference_are_met_without_java() -> None:
    golden = json.loads(GOLDEN.read_text())
    captions = [image["caption"] for image in golden["images"]]
    references = [image["references"] for image in golden["images"]]
    ours = score(captions, references, bootstrap=0)
    assert set(golden["scores"]) == set(DEFAULT_METRICS)
    for name, recorded in golden["scores"].items():
        np.testing.assert_allclose(ours[name].value, recorded["corpus"], err_msg=name, **EXACT)
        np.testing.assert_allclose(
            ours[name].per_image, recorded["per_image"], err_msg=name, **EXACT
        )


def magic(folder: Path) -> tuple[list[str], list[list[str]]]:
    refs = read_references(folder / "coco_karpathy_test_references.json")
    path = folder / "coco_karpathy_test_results_magic.json"
    matched = match(read_results(path), refs, path)
    return matched.captions, [refs.captions[image] for image in matched.images]


@pytest.mark.slow
def test_magic_scores_what_its_authors_published(scoring_data: Path) -> None:
    scores = score(*magic(scoring_data), bootstrap=0)
    published = {
        "BLEU-1": 0.568,
        "BLEU-2": 0.358,
        "BLEU-3": 0.214,
        "BLEU-4": 0.129,
        "ROUGE-L": 0.399,
        "CIDEr-D": 0.493,
    }
    assert {name: round(scores[name].value, 3) for name in published} == published


@pytest.mark.slow
def test_magic_scores_as_in_the_reference(scoring_data: Path) -> None:
    captions, references = prepare(*magic(scoring_data), tokenize=True)
    assert_same(list(captions), list(references))


def test_magic_scores_the_same_with_java_tokens(scoring_data: Path, java: None) -> None:
    captions, references = magic(scoring_data)
    captions, references = captions[:500], references[:500]
    flat = iter(java_tokens([caption for group in references for caption in group]))
    tokens = [[next(flat) for _ in group] for group in references]
    theirs = score(java_tokens(captions), tokens, bootstrap=0, tokenize=False)
    ours = score(captions, references, bootstrap=0)
    for name in DEFAULT_METRICS:
        np.testing.assert_allclose(ours[name].per_image, theirs[name].per_image, **EXACT)
