"""Distillation: several trained models, learnt by one."""

import math

import numpy as np
import pytest
import torch

from captioner.errors import DataError
from train.learner import IGNORE
from train.stages.distil import Teachers, cut_and_mixed

from .test_train import squares, trainer  # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def taught(squares, tmp_path_factory):  # noqa: F811
    """Two trained models with one encoder."""
    folder = tmp_path_factory.mktemp("teachers")
    short = {
        "stage.text.steps": 0,
        "stage.captions.epochs": 6,
        "stage.scst.epochs": 0,
        "stage.captions.unfreeze_epoch": 99,
    }
    trainer(squares, folder / "one", short).run()
    trainer(
        squares,
        folder / "two",
        {
            **short,
            "model.start": str(folder / "one" / "best"),
            "model.fresh_decoder": True,
            "run.seed": 5,
        },
    ).run()
    return folder / "one" / "best", folder / "two" / "best"


def student(squares, folder, first, teachers, changes=None):  # noqa: F811
    return trainer(
        squares,
        folder,
        {
            "model.start": str(first),
            "stage.distil.teachers": teachers,
            "stage.text.steps": 0,
            "stage.captions.epochs": 0,
            "stage.scst.epochs": 0,
            "data.max_tokens": 8,
            "model.dropout": 0,
            **(changes or {}),
        },
    )


def apart(run):
    """The divergence of a run's model from its teachers, a token, on captions that people wrote;
    and what each of the teachers says there."""
    learner, batches = run.setup.learner, run.setup.batches
    teachers = Teachers(run.recipe.stages[-1].teachers, learner)
    (piece,) = next(batches.pieces(1, 0, 1, 2))
    inputs, targets = batches.pad(piece.rows)
    wanted = teachers(piece.seen, inputs, targets)
    run.model.eval()
    with torch.no_grad():
        loss = learner(piece.seen, inputs, targets, teacher=wanted)
    each = [
        learner.logits(piece.seen, inputs, targets != IGNORE).log_softmax(1)
        for learner, _ in teachers.members
    ]
    return float(loss) / len(wanted), wanted, each


def test_teachers_are_averaged_by_their_weights(squares, tmp_path, taught):  # noqa: F811
    one, two = taught
    run = student(squares, tmp_path / "a", one, f"{one}=1 {two}=3")
    loss, wanted, (first, second) = apart(run)
    assert torch.allclose(wanted, (0.25 * first + 0.75 * second).log_softmax(1), atol=1e-5)
    assert loss > 0.001
    by_hand = (wanted.exp() * (wanted - first)).sum(1).mean()
    assert loss == pytest.approx(float(by_hand), rel=1e-3)
    alone, _, _ = apart(student(squares, tmp_path / "b", one, f"{one}"))
    assert alone == pytest.approx(0, abs=1e-5)


def test_the_student_comes_nearer(squares, tmp_path, taught):  # noqa: F811
    one, two = taught
    run = student(
        squares,
        tmp_path / "run",
        one,
        f"{one}=1 {two}=3",
        {
            "stage.distil.epochs": 25,
            "stage.distil.lr": 3e-3,
            "stage.distil.encoder_lr": 1e-4,
            "optimizer.ema": 0.8,
            "validation.every": 25,
            "data.feature_crop": 0.8,
            "data.patch_dropout": 0.1,
        },
    )
    before, _, _ = apart(run)
    trunk = [p.clone() for p in run.model.encoder.trunk_parameters()]
    run.run()
    after, _, _ = apart(run)
    assert after < before / 2
    assert all(map(torch.equal, trunk, run.model.encoder.trunk_parameters()))


def test_a_stopped_run_goes_on_to_the_same_weights(squares, tmp_path, taught):  # noqa: F811
    one, two = taught
    settings = {"stage.distil.epochs": 2, "run.save_every": 1, "data.feature_crop": 0.8}
    whole = student(squares, tmp_path / "whole", one, f"{one} {two}", settings)
    whole.run()
    half = student(squares, tmp_path / "half", one, f"{one} {two}", settings)
    step = half._step

    def stops(*arguments):
        if half.progress["step"] == 2:
            raise KeyboardInterrupt
        return step(*arguments)

    half._step = stops
    with pytest.raises(KeyboardInterrupt):
        half.run()
    again = student(squares, tmp_path / "half", one, f"{one} {two}", settings)
    again.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_a_teacher_that_does_not_fit_is_refused(squares, tmp_path, taught):  # noqa: F811
    one, _ = taught
    trainer(
        squares,
        tmp_path / "other",
        {
            "stage.text.steps": 0,
            "stage.captions.epochs": 0,
            "stage.scst.epochs": 1,
            "run.seed": 9,
        },
    ).run()
    other = tmp_path / "other" / "best"
    with pytest.raises(DataError, match="another trunk"):
        apart(student(squares, tmp_path / "a", one, f"{one} {other}"))
    with pytest.raises(DataError, match="FOLDER=WEIGHT"):
        apart(student(squares, tmp_path / "b", one, f"{one}=much"))
    with pytest.raises(DataError, match="needs teachers"):
        student(squares, tmp_path / "c", one, "", {"stage.distil.epochs": 1})
    small = trainer(
        squares,
        tmp_path / "small",
        {
            "stage.text.steps": 0,
            "stage.captions.epochs": 0,
            "stage.scst.epochs": 1,
            "model.vocab_size": 262,
        },
    )
    small.run()
    with pytest.raises(DataError, match="another tokenizer"):
        apart(student(squares, tmp_path / "d", one, f"{tmp_path / 'small' / 'best'}"))


def test_windows_are_pasted_from_other_photos():
    maps = torch.arange(40.0).view(40, 1, 1, 1).expand(40, 3, 8, 8)
    made = cut_and_mixed(maps, 0.5, np.random.default_rng(0))
    kinds = [set(photo.flatten().tolist()) for photo in made]
    assert sum(len(kind) == 2 for kind in kinds) >= 14  # a window may be the whole, or its own
    assert sum(kind == {float(i)} for i, kind in enumerate(kinds)) >= 20
    shares = [float((photo == i).float().mean()) for i, photo in enumerate(made)]
    assert 0.1 < np.mean([1 - s for s in shares if s < 1]) < 0.9
    assert torch.equal(maps, cut_and_mixed(maps, 0, np.random.default_rng(0)))
    assert all(math.isclose(p.std(0).max(), 0, abs_tol=1e-6) for p in made)  # all channels alike
