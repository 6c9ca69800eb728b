"""Which folders are checkpoints of the library, and what is refused with a sentence."""

import dataclasses
import json
import shutil

import pytest
import torch

from captioner.captioner import load
from captioner.encoders import EncoderConfig, build_encoder, config_for, library_of
from captioner.errors import ModelError, SettingError
from captioner.hub import families


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(made, monkeypatch):
    monkeypatch.setattr(families, "free_memory", lambda device: 1000)
    monkeypatch.setattr(families, "import_module", None)
    with pytest.raises(ModelError, match=r"needs 0\.0 GB .* has 0\.0 GB free"):
        load(made("blip", 0), device="cpu", dtype="float32")


def test_what_is_unknown_or_not_safe_is_refused(made, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "auto_map": {}}))
    with pytest.raises(
        ModelError, match="'llama' with code of its own, which is never run: it cannot"
    ):
        load(folder)
    shutil.copytree(made("blip", 0), tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "model.bin")
    with pytest.raises(ModelError, match="has no safetensors weights, and pickles"):
        load(tmp_path / "pickled")


def test_a_style_is_refused_by_a_model_that_knows_one_kind(loaded):
    with pytest.raises(SettingError, match="knows no style"):
        loaded("blip", 0).caption("no-such.jpg", style="alt")
    with pytest.raises(SettingError, match="follows no prompt"):
        loaded("encoder_decoder", "vit", "gpt2").caption("no-such.jpg", prompt="What is it?")
    with pytest.raises(SettingError, match="no style 'keywords'"):
        loaded("florence2").caption("no-such.jpg", style="keywords")


@pytest.mark.parametrize("kind, key", [("blip", "vision_model"), ("florence2", "vision_tower")])
def test_a_captioner_s_vision_tower_is_an_encoder(made, loaded, kind, key):
    folder = made(*((kind, 0) if kind == "blip" else (kind,)))
    assert library_of(str(folder)) == "transformers"
    config = config_for("transformers", str(folder))
    encoder = build_encoder(config)
    net = loaded(*((kind, 0) if kind == "blip" else (kind,))).model.net
    tower = getattr(net if kind == "blip" else net.model, key)
    pixels = torch.randint(0, 256, (2, config.size, config.size, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    normal = (pixels.movedim(3, 1) / 255 - mean) / std
    with torch.inference_mode():
        features = encoder(pixels).features
        out = tower(normal).last_hidden_state
    expected = out[:, 1:] if kind == "blip" else out.flatten(2).mT
    assert torch.allclose(features, expected, atol=1e-4)
    # Names without a folder.
    libraries = [library_of(n) for n in ("vit_small.tag", "facebook/dinov2-small", "hf-hub:a/b")]
    assert libraries == ["timm", "transformers", "timm"]
    # A saved model holds the architecture: it is built without the folder.
    stored = EncoderConfig(**json.loads(json.dumps(config.to_dict())))
    again = build_encoder(dataclasses.replace(stored, name="gone"))
    assert again.state_dict().keys() == encoder.state_dict().keys()
