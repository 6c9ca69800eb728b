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
from train.data import load_examples
from train.loop import Stopped, Trainer
from train.optim import Average
from train.setup import Setup

from .test_train import recipe, recipe_words, squares, trainer  # noqa: F401 (a fixture)

QUICK = {
    "model.size": 32, "model.trunk_stages": 5, "data.views": 1, "validation.previews": 0,
    "stage.text.steps": 0, "stage.captions.epochs": 2, "stage.scst.epochs": 0,
}  # fmt: skip


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
    run = trainer(squares, tmp_path, {**QUICK, "run.save_every": 1})
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
    again = trainer(squares, tmp_path, {**QUICK, "run.save_every": 1})
    again.run()
    assert again.progress["log"][-1]["epoch"] == 2.0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_really_full(squares, tmp_path):  # noqa: F811
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", disk]).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        run = trainer(squares, disk / "run", {**QUICK, "run.save_every": 1})
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
    run = trainer(squares, tmp_path, QUICK)

    def spoil(model):
        with torch.no_grad():
            model.decoder.norm.weight.fill_(float("nan"))

    named = pytest.raises(DataError, match=r"step 2 of stage 'captions'.*bad-batch-0\.json")
    with after_step(1, spoil), named:
        run.run()
    found = json.loads((tmp_path / "bad-batch-0.json").read_text())
    photos, _ = run.setup.batches.parts(1, 2, run.recipe.stages[1].length(run.setup).epoch)[0]
    assert [p["image_id"] for p in found["photos"]] == [
        run.setup.examples[i].image_id for i in photos
    ] and found["captions"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_saves_where_the_run_stands(squares, tmp_path, number):  # noqa: F811
    run = trainer(squares, tmp_path, QUICK)
    with after_step(0, lambda _: os.kill(os.getpid(), number)), pytest.raises(Stopped):
        run.run()
    again = trainer(squares, tmp_path, QUICK)
    again.run()
    assert "resumed in stage 'captions' at step" in (tmp_path / "log.txt").read_text()


def test_another_recipe_is_noticed(squares, tmp_path, capsys):  # noqa: F811
    words = [*recipe_words(tmp_path, QUICK), "--out", tmp_path, "--images", squares,
             "--annotations", squares / "captions.json", "--device", "cpu"]  # fmt: skip
    words = [str(w) for w in words]
    assert main([*words, "--resume"]) == 2 and "no run" in capsys.readouterr().err
    assert main(words) == 0
    assert main([*words, "--set", "stage.captions.lr=1e-5"]) == 2
    assert "stage.captions.lr 0.005 is now 1e-05" in capsys.readouterr().err
    assert main([*words, "--set", "stage.captions.lr=1e-5", "--resume"]) == 0


def test_a_stage_without_progress_ends_early(squares, tmp_path):  # noqa: F811
    still = {"stage.captions.lr": 0.0, "stage.captions.encoder_lr": 0.0}
    changes = {**QUICK, **still, "stage.captions.epochs": 50, "validation.patience": 2}
    run = trainer(squares, tmp_path, changes)
    run.run()
    assert len(run.progress["log"]) < 10 and "no better in 2" in (tmp_path / "log.txt").read_text()


def test_rewards_want_the_end_and_advantages_sum_to_nothing(squares, tmp_path):  # noqa: F811
    run = trainer(squares, tmp_path, {**QUICK, "stage.scst.bleu": 0.5})
    setup, stage = run.setup, run.recipe.stages[3]
    stage.prepare(setup)
    row = setup.tokenizer.encode(setup.examples[0].captions[0])
    endless = (row * 20)[: run.recipe.data.max_tokens]
    whole, cut = stage.reward([row, endless], np.array([0, 0]), np.array([False, False]))
    assert whole > 1 > cut
    left = setup.tokenizer.encode(setup.examples[0].captions[1])  # "... on the left"
    seen, mirrored = stage.reward([left, left], np.array([0, 0]), np.array([False, True]))
    assert seen > mirrored > 0
    run.model.eval()
    features = torch.randn(3, *run.model.encoder.grid, run.model.encoder.width).flatten(1, 2)
    memory = run.model.memory_of(features)
    photos, sides = np.array([0, 1, 2]), np.zeros(3, bool)
    draw, again = (stage.draw(setup, memory, photos, (1, 2), sides) for _ in range(2))
    assert draw.rows == again.rows and len(draw.rows) == 3 * stage.samples
    sums = draw.advantage.view(3, -1).sum(1)
    assert torch.allclose(sums, torch.zeros(3), atol=1e-4)
    assert stage.signature() == (
        "STANDARD_w/Init+Cider-D[n4,s6.0]+0.5*BLEU[n4]+average[nspi5]+1.0.0"
    )


def test_an_error_of_language_costs_reward(squares, tmp_path):  # noqa: F811
    text = tmp_path / "elephants.txt"
    text.write_text("an elephant walks\n" * 30)
    found = []
    for name, penalty in (("plain", 0), ("strict", 0.25)):
        changes = {**QUICK, "stage.scst.language_penalty": penalty}
        setup = trainer(squares, tmp_path / name, changes).setup
        setup.text = [text]
        stage = recipe(changes).stages[3]
        stage.prepare(setup)
        captions = ("a red square", "a elephant", "a red red square")
        rows = [setup.tokenizer.encode(caption) for caption in captions]
        found.append(stage.reward(rows, np.zeros(3, int), np.zeros(3, bool)))
        assert ("-0.25*language_penalty+" in stage.signature()) == (name == "strict")
    assert np.allclose(found[0] - found[1], [0, 0.25, 0.25])


def test_the_card_and_the_curves_are_written(squares, tmp_path):  # noqa: F811
    pytest.importorskip("tensorboard")
    short = {"stage.captions.epochs": 1, "stage.scst.epochs": 1}
    told = {"run.tensorboard": True, "run.report_every": 1}
    run = trainer(squares, tmp_path, {**QUICK, **short, **told})
    run.run()
    card = (tmp_path / "last" / "MODEL_CARD.md").read_text()
    assert "8 photos with 16 captions" in card and "STANDARD_w/Init+Cider-D[n4,s6.0]" in card
    assert list((tmp_path / "tensorboard").glob("events.*"))
    stages = [json.loads(x)["stage"] for x in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert {"captions", "scst"} <= set(stages)


def test_a_batch_too_small_for_its_parts_is_refused(squares, tmp_path):  # noqa: F811
    with pytest.raises(DataError, match="cannot be taken in 9 parts"):
        trainer(squares, tmp_path, {**QUICK, "optimizer.accumulate": 9}).run()


def test_features_are_cached_only_where_nothing_of_them_learns(squares, tmp_path):  # noqa: F811
    settings = {**QUICK, "model.trunk_stages": 0}
    with pytest.raises(DataError, match="encoder_blocks = 0"):
        trainer(squares, tmp_path, settings)
    run = trainer(squares, tmp_path, {**settings, "model.encoder_blocks": 0})
    run.run()
    indices = np.array([0, 5])
    cached = next(run.setup.feed.batches([(indices, np.zeros(2, int))]))
    pixels = torch.stack([trainer_views(run)[i, 0] for i in (0, 5)])
    with torch.no_grad():
        direct = run.model.encoder(pixels).features
    assert torch.allclose(cached.flatten(2).transpose(1, 2), direct, atol=2e-2)


def trainer_views(run: Trainer):
    from train.augment import Views

    return Views(run.setup.examples, run.model.config.encoder.size)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_photos_can_be_trained_on(squares, tmp_path, count):  # noqa: F811
    examples = load_examples(squares, squares / "captions.json")
    critical = {"stage.scst.epochs": int(count > 1), "stage.captions.epochs": 1}
    used = recipe({**QUICK, **critical, "optimizer.batch_photos": 64})
    validation = {"squares": examples[:count]} if count > 1 else {}
    Trainer(used, Setup(used, tmp_path, examples[:count], validation)).run()
    assert (tmp_path / "best" / "model.safetensors").is_file()


def test_what_compares_photos_refuses_a_single_one_before_the_run(squares, tmp_path):  # noqa: F811
    examples = load_examples(squares, squares / "captions.json")
    used = recipe({**QUICK, "stage.scst.epochs": 1})
    with pytest.raises(DataError, match=r"two or more.*--set stage\.scst\.epochs=0"):
        Trainer(used, Setup(used, tmp_path, examples[:1], {}))
    with pytest.raises(DataError, match="The validation set 'one' has one photo"):
        Setup(recipe(QUICK), tmp_path, examples, {"one": examples[:1]})


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_photo_is_a_sentence_also_from_a_worker(squares, tmp_path, workers, capsys):  # noqa: F811
    for file in squares.glob("*.png"):
        shutil.copy(file, tmp_path)
    broken = (tmp_path / "5.png").read_bytes()
    (tmp_path / "5.png").write_bytes(broken[: len(broken) // 3])
    live = {**QUICK, "data.features": "live", "data.workers": workers, "model.trunk_stages": 0}
    words = [*recipe_words(tmp_path, live), "--out", tmp_path / "out", "--images", tmp_path,
             "--annotations", squares / "captions.json", "--device", "cpu"]  # fmt: skip
    assert main([str(w) for w in words]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(told) == 1 and told[0].startswith("Error: ") and "5.png" in told[0]
    assert told[0].endswith("Take it out of the training set.")


def test_a_decoder_that_rested_learns_again(squares, tmp_path):  # noqa: F811
    """After a stage that trains the encoder alone, and where that one is resumed."""
    alone = {"stage.scst.epochs": 2, "stage.scst.lr": 0.0, "stage.scst.encoder_lr": 1e-4}
    run = trainer(squares, tmp_path, {**QUICK, **alone})
    run.recipe.stages.reverse()  # distil, scst, polish, captions
    run.progress["stage"] = "distil"
    with after_step(0, lambda _: os.kill(os.getpid(), signal.SIGTERM)), pytest.raises(Stopped):
        run.run()
    before = {k: v.clone() for k, v in run.average.values.items()}
    assert (run.progress["stage"], run.progress["step"]) == ("scst", 2)
    again = trainer(squares, tmp_path, {**QUICK, **alone})
    again.recipe.stages.reverse()
    again.run()
    after = again.model.state_dict()
    assert not torch.equal(before["decoder.norm.weight"], after["decoder.norm.weight"])


def test_a_stage_that_teaches_nothing_is_refused(squares, tmp_path):  # noqa: F811
    nothing = {"stage.captions.epochs": 0, "stage.scst.epochs": 1, "stage.scst.lr": 0.0}
    with pytest.raises(DataError, match="'scst' teaches nothing"):
        trainer(squares, tmp_path, {**QUICK, **nothing}).run()


def test_stages_that_have_changed_are_noticed(squares, tmp_path, capsys):  # noqa: F811
    words = [*recipe_words(tmp_path, QUICK), "--out", tmp_path / "out", "--images", squares,
             "--annotations", squares / "captions.json", "--device", "cpu"]  # fmt: skip
    words = [str(w) for w in words]
    assert main(words) == 0
    path = tmp_path / "small.toml"
    path.write_text(path.read_text().replace('"polish"', '"shine"'))
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "text, captions, polish, scst, distil are now text, captions, shine" in told
    (tmp_path / "out" / "recipe.json").write_text(json.dumps({"epochs": 3, "lr": 1e-3}))
    assert main(words) == 2 and "another version" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["recipe.json", "tokenizer.json", "log.txt", "best/config.json"])
def test_a_folder_of_somebodys_is_not_written_to(squares, tmp_path, name, capsys):  # noqa: F811
    file = tmp_path / "mine" / name
    file.parent.mkdir(parents=True)
    file.write_text('{"mine": 1}')
    words = [*recipe_words(tmp_path, QUICK), "--out", tmp_path / "mine", "--images", squares,
             "--annotations", squares / "captions.json"]  # fmt: skip
    assert main([str(w) for w in words]) == 2
    assert "was not written by a training run" in capsys.readouterr().err
    assert [p for p in (tmp_path / "mine").rglob("*") if p.is_file()] == [file]
    assert file.read_text() == '{"mine": 1}'
