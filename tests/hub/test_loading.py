"""Which folders are checkpoints of the library, and what is refused with a sentence."""

import json
import shutil

import pytest

from captioner.captioner import load
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
