"""Words for what is not there: marked by the model's doubt, and counted as CHAIR counts them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from captioner.captioner import Captioner, finish
from captioner.doubt import doubtful
from captioner.generation import Hypothesis
from captioner.photos import load_photo
from eval.hallucination import Named, auroc, chair, named, there, told

ABOUT = {"doubtful_below": 0.2}


def test_nouns_that_the_model_was_not_sure_of_are_doubtful():
    words = [
        "A",
        "man",
        "holds",
        "a",
        "cell",
        "phone",
        "near",
        "a",
        "hot",
        "dog",
        "and",
        "a",
        "lamp",
    ]
    sure = [0.9, 0.5, 0.01, 0.9, 0.4, 0.4, 0.1, 0.9, 0.5, 0.5, 0.9, 0.9, 0.05]
    # "cell phone" is one thing, of 0.16; "holds" and "lamp" name none of the 80.
    assert doubtful(words, sure, ABOUT) == {4, 5}
    assert doubtful(words, sure, {"doubtful_below": 0.3}) == {4, 5, 8, 9}
    assert doubtful(words, sure, {}) == doubtful(words, sure, {"doubtful_below": "?"}) == set()


def test_doubt_is_on_the_word_and_in_its_json(model):
    ids = tuple(model.tokenizer.encode("a dog in the snow"))
    spans = model.tokenizer.words(ids)
    logprobs = [-0.1] * (len(ids) + 1)
    dog = spans[1]
    logprobs[dog.start] = -3.0
    photo = load_photo(np.zeros((9, 9, 3), np.uint8))
    before = model.config.about
    model.config.about = dict(ABOUT)
    try:
        found = Hypothesis(ids, tuple(logprobs), 0.0)
        caption = finish(model, photo, found)
        assert [word.doubtful for word in caption.words] == [False, True, False, False, False]
        assert [w.get("doubtful") for w in caption.to_dict()["words"]][:2] == [None, True]
        given = finish(model, photo, found, given=dog.stop)
        assert not any(word.doubtful for word in given.words)
    finally:
        model.config.about = before
    assert not any(word.doubtful for word in finish(model, photo, found).words)


def test_a_thing_is_there_by_its_instances_or_by_what_people_wrote():
    assert there({"dog"}, ["Two men on a couch.", "a lamp"]) == {"dog", "person", "couch"}


def one(photo: int, there: bool, doubtful: bool, sign: float) -> Named:
    return Named(photo, there, doubtful, {"low probability": sign})


def test_chair_counts_things_and_sentences():
    found = [
        one(1, True, False, -0.9), one(1, False, True, -0.1), one(2, True, False, -0.5),
        one(3, False, False, -0.3), one(3, False, True, -0.2),
    ]  # fmt: skip
    content = chair(found, captions=4)
    assert content["chair_i"] == 0.6 and content["chair_s"] == 0.5
    assert content["foretold_by"]["low probability"]["auroc"] == 1.0
    assert content["doubtful"] == {
        "marked": 2, "absent": 1.0, "absent_of_the_others": round(1 / 3, 4),
        "of_all_absent": round(2 / 3, 4),
    }  # fmt: skip
    assert "60.0% are not there" in told(content) and "AUROC 1.000" in told(content)
    assert chair([], 4) == {} and "none" in told({})
    assert "foretold_by" not in chair([replace(f, there=True) for f in found], 4)


def test_the_area_is_the_share_of_pairs_in_order():
    values, true = np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, False, True, False])
    assert auroc(values, true) == pytest.approx((1 + 1 + 1 + 0.5) / 4)


def test_the_signs_of_a_caption(model):
    small = Captioner(model, device=torch.device("cpu"), dtype=torch.float32)
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    caption = small.explain(photo, "a dog in the snow")
    [thing] = named(small, 5, caption, {"cat"})
    assert thing.photo == 5 and not thing.there
    assert thing.signs["low probability"] == pytest.approx(-caption.words[1].probability)
    assert thing.signs["diffuse attention"] <= np.log(caption.words[1].heatmap.size) + 1e-4
    assert np.isfinite(thing.signs["little evidence"])
    evidence = small.with_heatmaps(caption, "evidence")
    [thing] = named(small, 5, evidence, {"dog"})
    assert thing.there and "diffuse attention" not in thing.signs
