"""What goes wrong in a training run: the disk, the numbers, a stop, another recipe."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
import torch

from captioner.errors import DataError
from train import checkpoint
from train.__main__ import main
from train.loop import Stopped, Trainer
from train.optim import Average
from train.recipe import Recipe

from .test_train import recipe, squares, trainer  # noqa: F401 (a fixture)

QUICK = {"size": 32, "trunk_stages": 5, "views": 1, "text_steps": 0, "scst_epochs": 0, "epochs": 2,
         "sample_photos": 0}  # fmt: skip


@contextlib.contextmanager
def after_step(number, happens):
    """At the end of one step of a run something happens: `happens(model)`."""
    follow = Average.follow

    def then(self, model, step):
        follow(self, model, step)
        if step == number:
            happens(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Average, "follow", then)
        yield


def test_a_full_disk_is_a_sentence_and_keeps_the_last_state(squares, tmp_path, monkeypatch):  # noqa: F811
    run = trainer(squares, tmp_path, **QUICK, save_every=1)
    save, calls = checkpoint.save_file, iter(range(100))

    def full(tensors, path, about):
        if next(calls) == 1:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(tensors, path, about)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(DataError, match=r"the disk is full.*kept"):
        run.run()
    assert not (tmp_path / "state.part").exists()
    again = trainer(squares, tmp_path, **QUICK, save_every=1)
    again.run()
    assert again.progress["log"][-1]["epoch"] == 2.0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_really_full(squares, tmp_path):  # noqa: F811
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", disk]).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        run = trainer(squares, disk / "run", **QUICK, save_every=1)
        run._validate = lambda *_: None  # the models it writes are not what is asked here
        left = shutil.disk_usage(disk).free
        size = sum(t.numel() * 4 for t in run.model.state_dict().values())
        (disk / "filler").write_bytes(bytes(max(0, left - int(3.5 * size))))
        with pytest.raises(DataError, match="the disk is full"):
            run.run()
        assert not (disk / "run" / "state.part").exists()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_loss_that_is_no_number_names_its_batch(squares, tmp_path, capsys):  # noqa: F811
    run = trainer(squares, tmp_path, **QUICK)

    def spoil(model):
        with torch.no_grad():
            model.decoder.norm.weight.fill_(float("nan"))

    named = pytest.raises(DataError, match=r"step 2 of stage 'captions'.*bad-batch-0\.json")
    with after_step(1, spoil), named:
        run.run()
    found = json.loads((tmp_path / "bad-batch-0.json").read_text())
    photos, _ = run._parts("captions", 2, run._steps("captions")[1])[0]
    assert [p["image_id"] for p in found["photos"]] == [
        run.examples[i].image_id for i in photos
    ] and found["captions"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_saves_where_the_run_stands(squares, tmp_path, number):  # noqa: F811
    run = trainer(squares, tmp_path, **QUICK)
    with after_step(0, lambda _: os.kill(os.getpid(), number)), pytest.raises(Stopped):
        run.run()
    again = trainer(squares, tmp_path, **QUICK)
    again.run()
    assert "resumed in stage 'captions' at step" in (tmp_path / "log.txt").read_text()


def test_another_recipe_is_noticed(squares, tmp_path, capsys):  # noqa: F811
    words = ["--recipe", "builtin", "--out", tmp_path, "--images", squares, "--annotations",
             squares / "captions.json", "--device", "cpu"]  # fmt: skip
    for key, value in recipe(**QUICK).to_dict().items():
        words += ["--set", f"{key}={value}"]
    words = [str(w) for w in words]
    assert main([*words, "--resume"]) == 1 and "no run" in capsys.readouterr().err
    assert main(words) == 0
    assert main([*words, "--set", "lr=1e-5"]) == 1
    assert "lr 0.005 is now 1e-05" in capsys.readouterr().err
    assert main([*words, "--set", "lr=1e-5", "--resume"]) == 0


def test_a_stage_without_progress_ends_early(squares, tmp_path):  # noqa: F811
    run = trainer(squares, tmp_path, **{**QUICK, "epochs": 50, "lr": 0.0, "encoder_lr": 0.0,
                                        "patience": 2})  # fmt: skip
    run.run()
    assert len(run.progress["log"]) < 10 and "no better in 2" in (tmp_path / "log.txt").read_text()


def test_rewards_want_the_end_and_advantages_sum_to_nothing(squares, tmp_path):  # noqa: F811
    run = trainer(squares, tmp_path, **QUICK, scst_bleu=0.5)
    from train.scst import SelfCritic

    critic = SelfCritic(run.model, run.recipe, run.examples)
    row = run.tokenizer.encode(run.examples[0].captions[0])
    endless = (row * 20)[: run.recipe.max_tokens]
    whole, cut = critic.rewards([row, endless], np.array([0, 0]), np.array([False, False]))
    assert whole > 1 > cut
    left = run.tokenizer.encode(run.examples[0].captions[1])  # "... on the left"
    seen, mirrored = critic.rewards([left, left], np.array([0, 0]), np.array([False, True]))
    assert seen > mirrored > 0
    run.model.eval()
    features = torch.randn(3, *run.model.encoder.grid, run.model.encoder.width).flatten(1, 2)
    memory = run.model.memory_of(features)
    draw = critic.draw(memory, np.array([0, 1, 2]), (1, 2))
    again = critic.draw(memory, np.array([0, 1, 2]), (1, 2))
    assert draw.rows == again.rows and len(draw.rows) == 3 * run.recipe.scst_samples
    sums = draw.advantage.view(3, -1).sum(1)
    assert torch.allclose(sums, torch.zeros(3), atol=1e-4)
    assert critic.signature() == (
        "STANDARD_w/Init+Cider-D[n4,s6.0]+0.5*BLEU[n4]+average[nspi5]+1.0.0"
    )


def test_a_slip_of_language_costs_reward(squares, tmp_path):  # noqa: F811
    from train.scst import SelfCritic

    run = trainer(squares, tmp_path, **QUICK, scst_slips=0.25)
    text = ["an elephant walks"] * 30
    plain = SelfCritic(run.model, Recipe.build({**run.recipe.to_dict(), "scst_slips": 0}),
                       run.examples, text)  # fmt: skip
    strict = SelfCritic(run.model, run.recipe, run.examples, text)
    rows = [run.tokenizer.encode(t) for t in ("a red square", "a elephant", "a red red square")]
    owner, sides = np.zeros(3, int), np.zeros(3, bool)
    lost = plain.rewards(rows, owner, sides) - strict.rewards(rows, owner, sides)
    assert np.allclose(lost, [0, 0.25, 0.25])
    assert "-0.25*slips+" in strict.signature() and "slips" not in plain.signature()


def test_the_card_and_the_curves_are_written(squares, tmp_path):  # noqa: F811
    pytest.importorskip("tensorboard")
    run = trainer(squares, tmp_path, **{**QUICK, "epochs": 1, "scst_epochs": 1}, tensorboard=True,
                  say_every=1)  # fmt: skip
    run.run()
    card = (tmp_path / "last" / "MODEL_CARD.md").read_text()
    assert "8 photos with 16 captions" in card and "STANDARD_w/Init+Cider-D[n4,s6.0]" in card
    assert list((tmp_path / "tensorboard").glob("events.*"))
    stages = [json.loads(x)["stage"] for x in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert {"captions", "scst"} <= set(stages)


def test_a_batch_too_small_for_its_parts_is_refused(squares, tmp_path):  # noqa: F811
    with pytest.raises(DataError, match="cannot be taken in 9 parts"):
        trainer(squares, tmp_path, **QUICK, accumulate=9).run()


def test_features_are_cached_only_where_nothing_of_them_learns(squares, tmp_path):  # noqa: F811
    settings = {**QUICK, "trunk_stages": 0}
    with pytest.raises(DataError, match="encoder_blocks = 0"):
        trainer(squares, tmp_path, **settings)
    run = trainer(squares, tmp_path, **settings, encoder_blocks=0)
    run.run()
    indices = np.array([0, 5])
    cached = next(run.feed.batches([(indices, np.zeros(2, int))]))
    pixels = torch.stack([trainer_views(run)[i, 0] for i in (0, 5)])
    with torch.no_grad():
        direct = run.model.encoder(pixels).features
    assert torch.allclose(cached.flatten(2).transpose(1, 2), direct, atol=2e-2)


def trainer_views(run: Trainer):
    from train.augment import Views

    return Views(run.examples, run.model.config.encoder.size)
