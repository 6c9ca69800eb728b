"""Photos that are imagined for captions without one, and attention that is drawn to things."""

import numpy as np
import pytest
import torch

from captioner.annotations import AnnotatedImage
from captioner.objects import categories
from train.imagined import Imagination, grouped, named
from train.pointing import IGNORE, astray
from train.reward import plain

from .test_train import squares, trainer  # noqa: F401

CAT, DOG, PERSON = (categories().index(name) for name in ("cat", "dog", "person"))


def photo(*captions):
    return AnnotatedImage(image_id=0, name="a.jpg", captions=captions)


def test_things_are_what_any_caption_names_for_sure():
    assert named(["A cat asleep.", "Two men near a computer"]) == {CAT, PERSON}


def test_lines_in_a_row_tell_of_one_photo():
    assert grouped(["a", "b", "c", "d", "e"], 2) == [["a", "b"], ["c", "d"], ["e"]]


def test_a_thing_lies_where_it_lies_on_a_photo_whose_captions_name_it():
    examples = [photo("A cat."), photo("A dog runs."), photo("A field.")]
    found = torch.zeros(3, 80, 2, 2)
    found[0, CAT, 0] = 0.9
    found[1, DOG, 1] = 0.7
    found[1, PERSON, 0] = 0.2  # what the dog's photo has besides
    found[2, PERSON] = 0.5
    imagine = Imagination([["A dog and a cat."]], examples, found)
    numbers, maps = imagine([np.random.default_rng(i) for i in range(20)])
    assert numbers.tolist() == [0] * 20 and maps.shape == (20, 80, 2, 2)
    assert (maps[:, CAT].sum((1, 2)) - 1.8).abs().max() < 1e-5
    assert (maps[:, DOG].sum((1, 2)) - 1.4).abs().max() < 1e-5
    besides = maps[:, PERSON].amax((1, 2))
    assert {round(most, 3) for most in besides.tolist()} == {0.0, 0.2}
    again = imagine([np.random.default_rng(i) for i in range(20)])[1]
    assert torch.equal(again, maps)


def test_what_nobody_names_is_borrowed_from_any_photo():
    found = torch.zeros(1, 80, 2, 2)
    found[0, PERSON] = 0.5
    _, maps = Imagination([["A red wall."]], [photo("A cat.")], found)([np.random.default_rng(0)])
    assert maps[0, PERSON].eq(0.5).all()


def test_attention_on_the_thing_costs_nothing_and_beside_it_much():
    things = torch.zeros(1, 4, 80)
    things[0, 2, DOG] = 0.8
    things[0, 3, DOG] = 0.4
    things[0, 0, CAT] = 0.1  # too unsure to say where it lies
    words = torch.tensor([[IGNORE, DOG, CAT]])
    on, half, off = (
        torch.tensor(look).expand(1, 3, 4)
        for look in ([0.0, 0, 1, 0], [0.0, 0, 0, 1], [1.0, 0, 0, 0])
    )
    assert astray(on, things, words) == 0
    assert astray(half, things, words) == pytest.approx(np.log(2))
    assert astray(off, things, words) == pytest.approx(-np.log(1e-4))
    # Of the patches 3 and 1 alone: all the attention is where half of the dog is.
    kept = torch.tensor([[3, 1]])
    look = torch.tensor([1.0, 0]).expand(1, 3, 2)
    assert astray(look, things, words, kept) == pytest.approx(np.log(2))


def test_a_run_learns_from_imagined_photos(squares, tmp_path):  # noqa: F811
    text = tmp_path / "text.txt"
    changes = {
        "model.detector": "ssd_mobilenet_v2", "model.trunk_stages": 5, "data.views": 2,
        "data.patch_dropout": 0.5, "stage.captions.imagined": 0.5, "stage.captions.pointing": 0.3,
        "stage.text.pointing": 0.3, "stage.captions.epochs": 1, "stage.scst.epochs": 1,
        "stage.scst.imagined": 0.5, "stage.scst.cross_entropy": 0.1, "stage.scst.pointing": 0.3,
        "model.map_layer": 0,
    }  # fmt: skip
    text.write_text("A dog on a red wall.\n" * 10)
    run = trainer(squares, tmp_path / "run", changes)
    run.setup.text = [text]
    terms = []
    kept = run.setup.batches.terms

    def told(kind, piece, rows, *more, **options):
        found = kept(kind, piece, rows, *more, **options)
        terms.extend((kind, term) for term in found)
        return found

    run.setup.batches.terms = told
    run.run()
    kinds = {kind for kind, _ in terms}
    assert kinds == {"cross-entropy", "imagined", "reward"}
    imagined = [term for kind, term in terms if kind == "imagined"]
    assert all(term.seen.shape[1] == 80 for term in imagined)
    pointed = [term for term in imagined if term.named is not None]
    named_tokens = {int(n) for term in pointed for n in term.named.unique()}
    assert any(term.weights is not None for term in imagined)  # of captions that were drawn
    assert named_tokens == {IGNORE, DOG}
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()


def test_a_longer_phrase_is_worth_no_more_than_the_shorter_one():
    assert plain("a cat on top of a bed, on top of it") == "a cat on a bed, on it"
    assert plain("the top of a hill") == "the top of a hill"
