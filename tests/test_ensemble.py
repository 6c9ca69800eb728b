"""Several models that write together: the mean of what each says, on one trunk."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from captioner.captioner import Captioner, load
from captioner.cli import app
from captioner.ensemble import Ensemble, load_model
from captioner.errors import ModelError
from captioner.generation import Search
from captioner.model import CaptionModel
from captioner.photos import load_photo
from captioner.tokenizer import BOS, CaptionTokenizer
from train.release import main as release

from .conftest import CAPTIONS, tiny_model

SHARES = (0.6, 0.4)


def part(seed: int, **decoder: int) -> CaptionModel:
    """A tiny model whose encoder has a trunk, the same one for every seed."""
    model, other = tiny_model(0, **decoder), tiny_model(seed, **decoder)
    model.decoder, model.projection = other.decoder, other.projection
    model.config.encoder.frozen_stages = model.encoder.split = 5  # type: ignore[assignment]
    for name, values in model.encoder.named_parameters():
        if "blocks.6." in name:
            values.data.add_(0.01 * seed)
    return model


@pytest.fixture(scope="module")
def members() -> list[CaptionModel]:
    return [part(1), part(2)]


@pytest.fixture(scope="module")
def ensemble(members) -> Ensemble:
    return Ensemble.of(members, SHARES)


@pytest.fixture
def folders(members, tmp_path) -> list[str]:
    for number, member in enumerate(members, start=1):
        member.save(tmp_path / f"model-{number}")
    (tmp_path / "card.md").write_text("A model.\n")
    return [str(tmp_path / f"model-{n}") for n in (1, 2)]


def words(tmp_path, *more: str) -> list[str]:
    return ["--name", "n", "--version", "1", "--trained-on", "x", "--card",
            str(tmp_path / "card.md"), "--out", str(tmp_path / "out"), *more]  # fmt: skip


@pytest.mark.slow
def test_each_step_is_the_weighted_mean_of_the_members_log_probabilities(ensemble, members, pixels):
    batch = torch.from_numpy(pixels)
    tokens = torch.tensor([[BOS, 7, 9], [BOS, 12, 6], [BOS, 5, 8]])
    with torch.inference_mode():
        found = ensemble.step(ensemble.memory(batch))(tokens, None).log_softmax(-1)
        each = [m.decoder(tokens, m.memory(batch))[0][:, -1].log_softmax(-1) for m in members]
    expected = (0.6 * each[0] + 0.4 * each[1]).log_softmax(-1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (each[0] - each[1]).abs().max() > 0.1  # they do differ


def test_the_search_ranks_by_the_mean(ensemble, members, pixels):
    """A finished caption's log-probabilities are what the members say of it, averaged."""
    with torch.inference_mode():
        memory = ensemble.memory(torch.from_numpy(pixels))
        found = [row[0] for row in ensemble.write(memory)]
        for photo, hypothesis in enumerate(found):
            read = torch.tensor([[BOS, *hypothesis.ids]])
            one = [(k[photo : photo + 1], v[photo : photo + 1]) for k, v in memory]
            logits, _ = ensemble.explain(read, one)
            said = logits.log_softmax(-1)[0].gather(1, torch.tensor([[*hypothesis.ids, 2]]).T)
            np.testing.assert_allclose(said[:, 0], hypothesis.logprobs, atol=1e-4)


@pytest.mark.slow
def test_models_that_agree_write_what_one_of_them_writes(members, pixels):
    batch = torch.from_numpy(pixels)
    twice = Ensemble.of([members[0], members[0]], [0.3, 0.7])
    for search in (Search(beams=3), Search(beams=1), Search(sample=True, seed=4)):
        search = search.with_(max_length=12)
        with torch.inference_mode():
            alone = members[0].write(members[0].memory(batch), search)
            both = twice.write(twice.memory(batch), search)
        assert [[h.ids for h in row] for row in both] == [[h.ids for h in row] for row in alone]


def test_maps_are_those_of_all_members(ensemble, members, pixels):
    batch = torch.from_numpy(pixels)
    captions = [(7, 9, 12), (5,), (8, 6)]
    with torch.inference_mode():
        looks = ensemble.look(ensemble.memory(batch), captions)
        each = [m.look(m.memory(batch), captions) for m in members]
    for photo, weights in enumerate(looks):
        assert weights.shape[:2] == (len(ensemble.layers), 4) == (4, 4)
        expected = torch.cat([each[0][photo], each[1][photo]])
        torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-4)
    empty = ensemble.look(ensemble.memory(batch), [(), (), ()])
    assert empty[0].shape == (4, 4, 0, 9)


@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_save_load_save_gives_the_same_bytes_and_one_trunk(
    ensemble, members, tmp_path, weights, monkeypatch
):
    monkeypatch.setattr(ensemble.config, "weights", weights)
    ensemble.save(tmp_path / "one", card="card")
    loaded = load_model(tmp_path / "one")
    assert isinstance(loaded, Ensemble) and loaded.config.shares == SHARES
    loaded.save(tmp_path / "two", card="card")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    trunk = sum(p.numel() for p in members[0].encoder.trunk_parameters())
    one = sum(p.numel() for p in members[0].parameters())
    assert trunk > 0 and sum(p.numel() for p in loaded.parameters()) == 2 * one - trunk
    first, second = loaded.each
    for a, b in zip(first.encoder.trunk_parameters(), second.encoder.trunk_parameters(),
                    strict=True):  # fmt: skip
        assert a is b


@pytest.mark.slow
def test_members_must_go_together(members):
    other = part(3)
    other.tokenizer = CaptionTokenizer.train([*CAPTIONS, "zebra zebra zebra"], 300)
    with pytest.raises(ModelError, match="another tokenizer"):
        Ensemble.of([members[0], other], SHARES)
    with pytest.raises(ModelError, match="another encoder or decoder"):
        Ensemble.of([members[0], part(3, layers=1)], SHARES)
    moved = part(3)
    with torch.no_grad():
        moved.encoder.trunk_parameters()[0].add_(0.1)
    with pytest.raises(ModelError, match="another trunk"):
        Ensemble.of([members[0], moved], SHARES)


@pytest.mark.parametrize("shares", [[0.6], [0.6, 0.6], [1.5, -0.5], ["a", 0.5], 0.5, [True, 0.5]])
def test_shares_that_make_no_sense_are_refused(ensemble, tmp_path, shares):
    ensemble.save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shares": shares}))
    with pytest.raises(ModelError, match="shares"):
        load_model(tmp_path / "model")


def test_where_one_model_is_needed_an_ensemble_is_a_sentence(ensemble, tmp_path):
    ensemble.save(tmp_path / "model")
    with pytest.raises(ModelError, match=r"ensemble of 2 models.*--member 1"):
        CaptionModel.load(tmp_path / "model")


@pytest.mark.slow
def test_a_captioner_of_an_ensemble(ensemble, tmp_path):
    photo = load_photo(np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    ensemble.save(tmp_path / "model")
    captioner = load(tmp_path / "model", device="cpu", dtype="float32")
    assert isinstance(captioner, Captioner)
    alone = captioner.caption(photo.image, alternatives=1)
    batch = captioner.caption([photo.image, photo.image.rotate(90)], alternatives=1)
    assert batch[0].text == alone.text and len(alone.alternatives) == 1
    for word in alone.words:
        assert word.heatmap is not None and word.heatmap.shape == (3, 3)
        assert word.heatmap.sum() == pytest.approx(1, abs=1e-5)
    every = captioner.word_attention(alone)
    assert every[0].shape == (4, 4, 3, 3)
    np.testing.assert_allclose(every[0].mean((0, 1)), alone.words[0].heatmap, atol=1e-5)
    shown = CliRunner().invoke(app, ["info", "--model", str(tmp_path / "model")])
    assert "an ensemble of 2, each of 2 layers" in shown.output


@pytest.mark.slow
def test_release_puts_models_together_and_takes_one_out(folders, members, tmp_path, capsys):
    one, two = folders
    assert release([one, *words(tmp_path, "--ensemble", two, "0.4", "--weights", "int8")]) == 0
    made = load_model(tmp_path / "out")
    assert isinstance(made, Ensemble) and made.config.shares == SHARES
    assert made.config.weights == "int8" and (tmp_path / "out" / "MODEL_CARD.md").is_file()
    (tmp_path / "out").rename(tmp_path / "both")
    both = str(tmp_path / "both")
    assert release([both, *words(tmp_path, "--member", "2")]) == 0
    second = CaptionModel.load(tmp_path / "out")
    for name, values in members[1].state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], values, atol=0.05, rtol=0.05)
    capsys.readouterr()
    for wrong, sentence in [
        ([both, "--member", "3"], "no model 3"),
        ([one, "--member", "1"], "no model 1"),
        ([both], "one is needed"),
        ([one, "--ensemble", two, "1"], "leave nothing"),
        ([one, "--ensemble", two, "half"], "0 to 1"),
        ([one, "--ensemble", str(tmp_path / "nowhere"), "0.4"], "nowhere"),
    ]:
        assert release([wrong[0], *words(tmp_path, *wrong[1:])]) == 2
        assert sentence in capsys.readouterr().err
