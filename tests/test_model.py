"""Saved models: the same bytes again, and a sentence for what is not one."""

import json
import shutil

import pytest
import torch

from captioner.errors import ModelError
from captioner.model import CaptionModel, ModelConfig

from .conftest import tiny_model


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model", card="# A model\n")
    return tmp_path / "model"


@pytest.mark.parametrize("weights", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.slow
def test_save_load_save_gives_the_same_bytes(tmp_path, weights):
    model = tiny_model()
    model.config.weights = weights
    model.save(tmp_path / "one", card="card")
    CaptionModel.load(tmp_path / "one").save(tmp_path / "two", card="card")
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert names == ["MODEL_CARD.md", "config.json", "model.safetensors", "tokenizer.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_loaded_model_writes_the_same(model, folder, pixels):
    loaded = CaptionModel.load(folder)
    for batch in (torch.from_numpy(pixels),):
        with torch.inference_mode():
            assert model.write(model.memory(batch)) == loaded.write(loaded.memory(batch))


def test_a_truncated_weights_file_is_refused(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"model\.safetensors.*damaged"):
            CaptionModel.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        CaptionModel.load(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        CaptionModel.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "other"}', "\udcff", '{"format": "captioner-1"}'],
)
def test_a_foreign_config_is_refused(folder, text):
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match="config"):
        CaptionModel.load(folder)


@pytest.mark.parametrize(
    "section, key, value",
    [
        ("encoder", "library", "keras"),
        ("encoder", "name", "no_such_model"),
        ("decoder", "wdith", 5),
        ("decoder", "width", 64),
        ("decoder", "vocab_size", 999),
        ("search", "beams", 0),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder, section, key, value):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config[section][key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(Exception) as caught:
        CaptionModel.load(folder)
    from captioner.errors import CaptionerError

    assert isinstance(caught.value, CaptionerError), caught.value


def test_weights_of_another_model_are_refused(folder, tmp_path):
    tiny_model(layers=1).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    with pytest.raises(ModelError, match="does not fit"):
        CaptionModel.load(folder)


def test_a_pickle_is_never_loaded(folder):
    torch.save({"weights": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="not a safetensors file"):
        CaptionModel.load(folder)


def test_the_config_survives_json():
    config = tiny_model().config
    assert ModelConfig.from_json(config.to_json()).to_json() == config.to_json()


def test_the_second_look_is_the_look_while_writing(model, pixels):
    """The map of a token is the attention of the step that wrote it."""
    with torch.inference_mode():
        memory = model.memory(torch.from_numpy(pixels))
        found = [row[0].ids for row in model.write(memory)]
        looks = model.look(memory, found)
        for photo, ids in enumerate(found):
            one = [(k[photo : photo + 1], v[photo : photo + 1]) for k, v in memory]
            for t in range(len(ids)):
                read = torch.tensor([[1, *ids[:t]]])
                _, weights = model.decoder.explain(read, one)
                torch.testing.assert_close(
                    looks[photo][:, :, t], weights[0, :, :, t], atol=1e-5, rtol=1e-5
                )
