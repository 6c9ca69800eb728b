"""Weights in 8 bits: near what they were, and the same bytes when stored again."""

import pytest
import torch

from captioner.errors import ModelError
from captioner.model import CaptionModel
from captioner.weights import pack, unpack

from .conftest import tiny_model


def test_a_number_is_at_most_half_a_step_off():
    torch.manual_seed(0)
    state = {
        "linear": torch.randn(50, 30) * torch.logspace(-6, 3, 50).unsqueeze(1),
        "convolution": torch.randn(8, 3, 5, 5),
        "bias": torch.randn(7),
        "count": torch.arange(4),
    }
    stored = pack(state, "int8")
    found = dict(unpack(stored))
    assert set(found) == set(state)
    assert stored["linear"].dtype == stored["convolution"].dtype == torch.int8
    assert stored["bias"].dtype == torch.float16 and torch.equal(found["count"], state["count"])
    for name in ("linear", "convolution"):
        off = (found[name] - state[name]).flatten(1).abs().amax(1)
        step = stored[f"{name}.scale"].float()
        # The largest number of a row too: bfloat16 rounds its scale by 1/512 at most.
        assert (off <= 0.501 * step).all()
        assert (stored[name].flatten(1).int().abs().amax(1) == 127).all()


def test_packing_again_gives_the_same():
    torch.manual_seed(1)
    rows = torch.randn(400, 17) * torch.logspace(-30, 30, 400).unsqueeze(1)
    rows[3] = 0
    once = pack({"w": rows}, "int8")
    again = pack(dict(unpack(once)), "int8")
    assert set(once) == set(again) == {"w", "w.scale"}
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not dict(unpack(once))["w"][3].any()


@pytest.mark.parametrize("scale", [torch.ones(3), torch.ones(2, 2), torch.ones(())])
def test_scales_that_do_not_fit_are_refused(scale):
    with pytest.raises(ModelError, match="'w'"):
        dict(unpack({"w": torch.zeros(2, 3, dtype=torch.int8), "w.scale": scale}))


@pytest.mark.slow
def test_a_model_in_8_bits_is_a_quarter_and_says_nearly_the_same(tmp_path):
    model = tiny_model()
    model.save(tmp_path / "whole")
    model.config.weights = "int8"
    model.save(tmp_path / "small")
    size = {n: (tmp_path / n / "model.safetensors").stat().st_size for n in ("whole", "small")}
    assert size["small"] < 0.3 * size["whole"]
    ids = torch.randint(5, len(model.tokenizer), (2, 9))
    one, two = (CaptionModel.load(tmp_path / n).decoder(ids, None)[0] for n in size)
    spread = one.log_softmax(-1).exp() - two.log_softmax(-1).exp()
    assert 0 < spread.abs().max() < 0.05
