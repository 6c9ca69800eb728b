"""What a training step is made of: groups of like length, hidden patches, another size, slips."""

import numpy as np
import pytest
import torch

from captioner.model import CaptionModel
from train.build import resized
from train.slips import Slips

from .test_train import squares, trainer  # noqa: F401


def losses(run):
    """The summed loss of the first batch and its gradient, over all its terms."""
    run.model.train(False)
    run.model.zero_grad()
    (piece,) = next(run._pieces("captions", 0, 1, 1))
    terms = run._terms("captions", 0, piece)
    for term in terms:
        run.learner(term.seen, term.inputs, term.targets, term.weights, term.patches).backward()
    gradients = {k: p.grad for k, p in run.model.named_parameters() if p.grad is not None}
    return terms, gradients


@pytest.mark.parametrize("hidden", [0.0, 0.5])
def test_groups_of_like_length_change_nothing_but_the_padding(
    squares,  # noqa: F811
    tmp_path,
    monkeypatch,
    hidden,
):
    run = trainer(squares, tmp_path, batch_photos=8, patch_dropout=hidden)
    many, gradients = losses(run)
    monkeypatch.setattr("train.loop.GROUPS", 1)
    one, expected = losses(run)
    assert len(many) == 4 and len(one) == 1
    assert sum(t.captions for t in many) == one[0].captions == 16
    assert sum(t.tokens for t in many) == one[0].tokens
    assert sum(t.targets.numel() for t in many) <= one[0].targets.numel()
    for name, value in expected.items():
        assert torch.allclose(value, gradients[name], atol=1e-4, rtol=1e-3), name


def test_other_patches_are_hidden_for_every_photo_and_step(squares, tmp_path):  # noqa: F811
    run = trainer(squares, tmp_path, patch_dropout=0.5, text_steps=0)
    (piece,) = next(run._pieces("captions", 0, 1, 1))
    count = int(np.prod(run.model.grid))
    kept = run._patches(piece, 3)
    assert kept.shape == (len(piece.photos), count // 2)
    assert torch.equal(kept, run._patches(piece, 3))
    assert not torch.equal(kept, run._patches(piece, 4)) and not torch.equal(kept[0], kept[1])
    features = torch.randn(len(kept), count, run.model.encoder.width)
    for some, whole in zip(
        run.model.memory_of(features, kept), run.model.memory_of(features), strict=True
    ):
        index = kept[:, None, :, None].expand_as(some[0])
        assert torch.allclose(some[0], whole[0].gather(2, index), atol=1e-5)
    run.run()  # and a whole run, self-critical steps included


def test_a_model_goes_on_at_another_size(squares, tmp_path):  # noqa: F811
    run = trainer(squares, tmp_path / "run", text_steps=0, epochs=1, scst_epochs=0)
    run.run()
    small = CaptionModel.load(tmp_path / "run" / "best")
    same = resized(small, 64)
    for name, value in small.state_dict().items():
        assert torch.allclose(value, same.state_dict()[name], atol=1e-6), name
    changes = {"model": str(tmp_path / "run" / "best"), "resize": 128, "epochs": 1}
    large = trainer(squares, tmp_path / "large", text_steps=0, scst_epochs=0, **changes)
    assert small.grid == (2, 2) and large.model.grid == (4, 4)
    row = small.projection.row.detach()
    expected = torch.stack([row[0], row[0] * 0.75 + row[1] * 0.25])
    assert torch.allclose(large.model.projection.row[:2], expected, atol=1e-5)
    large.run()
    assert CaptionModel.load(tmp_path / "large" / "best").config.encoder.size == 128


def test_slips_are_learnt_from_what_people_write():
    written = ["an elephant walks", "a dog on a bed", "dogs run", "a uniform", "an hour"] * 60
    slips = Slips([*written, "a elephant", "a dogs"])
    for caption in ["a elephant walks", "an dog", "a dogs run", "an uniform", "a hour", "a bed a"]:
        assert slips.count(caption.split()) == 1, caption
    for caption in ["an elephant walks on a bed", "a dog on a unicycle", "a uniform", ""]:
        assert slips.count(caption.split()) == 0, caption
    assert slips.count(["a", "dog", "on", "a", "bed", "with", "a", "dog", "on", "a", "bed"]) == 2
