"""Our EfficientNet-Lite is timm's to the bit: weights that are drawn, names, features, gradients;
and the model in the box needs no timm."""

import dataclasses

import pytest
import torch

from captioner.encoders import EncoderConfig, build_encoder
from captioner.encoders.lite import SCALES, LiteEncoder
from captioner.encoders.timm import TimmEncoder
from captioner.model import read_config


def pair(config):
    """Ours and timm's encoder, each drawn from the same seed."""
    made = []
    for kind in (LiteEncoder, TimmEncoder):
        torch.manual_seed(0)
        made.append(kind(config).eval())
    return made


def assert_same_state(ours, theirs):
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    assert all(torch.equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize("stages", [0, 5])
@torch.no_grad()
def test_a_random_lite0_is_timms(stages):
    ours, theirs = pair(EncoderConfig(name="tf_efficientnet_lite0", size=75, frozen_stages=stages))
    assert_same_state(ours, theirs)
    assert (ours.grid, ours.width) == (theirs.grid, theirs.width) == ((3, 3), 1280)
    # Biases of a random network are zero, which would hide one that is left out.
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        other.copy_(one.add_(0.05 * torch.randn(one.shape)))
    pixels = torch.randint(0, 256, (2, 75, 75, 3), dtype=torch.uint8)
    trunk = ours.trunk(ours.normalise(pixels))
    assert torch.equal(trunk, theirs.trunk(theirs.normalise(pixels)))
    assert torch.equal(ours(pixels).features, theirs(pixels).features)
    names = [{id(p): n for n, p in one.named_parameters()} for one in (ours, theirs)]
    assert [names[0][id(p)] for p in ours.trunk_parameters()] == [
        names[1][id(p)] for p in theirs.trunk_parameters()
    ]
    assert [sorted(names[0][id(p)] for p in block) for block in ours.blocks()] == [
        sorted(names[1][id(p)] for p in block) for block in theirs.blocks()
    ]


def test_gradients_are_timms():
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    ours, theirs = pair(EncoderConfig(name="tf_efficientnet_lite0", size=64))
    for one in (ours, theirs):
        one(pixels).features.square().mean().backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.requires_grad == other.requires_grad
        assert not mine.requires_grad or torch.equal(mine.grad, other.grad)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SCALES))
def test_every_size_has_timms_tensors(name):
    assert_same_state(*pair(EncoderConfig(name=name, size=32)))


@torch.no_grad()
def test_the_encoder_of_the_model_in_the_box_gives_timms_features(builtin):
    from captioner.captioner import load

    member = load(builtin, device="cpu").own.first
    theirs = TimmEncoder(read_config(builtin).encoder).eval()
    theirs.load_state_dict(member.encoder.state_dict())
    pixels = torch.randint(0, 256, (2, 320, 320, 3), dtype=torch.uint8)
    assert isinstance(member.encoder, LiteEncoder)
    assert torch.equal(member.encoder(pixels).features, theirs(pixels).features)


def test_which_encoders_are_ours():
    lite = EncoderConfig(name="tf_efficientnet_lite0", size=32)
    stored = {"architecture": "tf_efficientnet_lite0", "model_args": {}}
    for config, kind in (
        (lite, LiteEncoder),
        (dataclasses.replace(lite, name="gone", backbone=stored), LiteEncoder),
        (dataclasses.replace(lite, fold_batch_norm=False), TimmEncoder),
        (
            dataclasses.replace(lite, backbone=stored | {"model_args": {"output_stride": 16}}),
            TimmEncoder,
        ),
        (dataclasses.replace(lite, name="test_resnet", size=64), TimmEncoder),
    ):
        assert type(build_encoder(config)) is kind
