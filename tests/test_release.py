"""Putting a trained model into the package."""

import json

import torch

from captioner.model import CaptionModel
from train.release import main


def test_a_temperature_divides_the_logits(model, tmp_path, capsys):
    model.save(tmp_path / "model")
    card = tmp_path / "card.md"
    card.write_text("A model.\n")
    words = [str(tmp_path / "model"), "--name", "n", "--version", "2", "--trained-on", "squares",
             "--card", str(card), "--out", str(tmp_path / "out")]  # fmt: skip
    assert main([*words, "--temperature", "0"]) == 2 and "above 0" in capsys.readouterr().err
    assert main([*words, "--temperature", "2"]) == 0
    before, after = (CaptionModel.load(tmp_path / name) for name in ("model", "out"))
    ids = torch.randint(5, len(before.tokenizer), (2, 7))
    with torch.no_grad():
        logits, tempered = (m.decoder(ids, None)[0] for m in (before, after))
    torch.testing.assert_close(tempered, logits / 2)
    assert after.config.about["version"] == "2" and (tmp_path / "out" / "MODEL_CARD.md").is_file()


def test_a_card_that_asks_for_a_score_that_was_not_given_is_refused(model, tmp_path, capsys):
    model.save(tmp_path / "model")
    card = tmp_path / "card.md"
    card.write_text("CIDEr-D {val/CIDEr-D}\n")
    words = ["--name", "n", "--version", "1", "--trained-on", "x", "--card", str(card)]
    assert main([str(tmp_path / "model"), *words, "--out", str(tmp_path / "out")]) == 2
    assert "'val/CIDEr-D'" in capsys.readouterr().err


def test_weights_are_averaged_with_those_of_another_model(model, tmp_path, capsys):
    model.save(tmp_path / "one")
    other = CaptionModel.load(tmp_path / "one")
    with torch.no_grad():
        for values in other.parameters():
            values.add_(1)
    other.save(tmp_path / "two")
    card = tmp_path / "card.md"
    card.write_text("A model.\n")
    words = [str(tmp_path / "one"), "--name", "n", "--version", "1", "--trained-on", "x",
             "--card", str(card), "--out", str(tmp_path / "out"),
             "--average", str(tmp_path / "two")]  # fmt: skip
    assert main([*words, "2"]) == 2 and "0 to 1" in capsys.readouterr().err
    assert main([*words, "0.25"]) == 0
    one, out = (CaptionModel.load(tmp_path / name).state_dict() for name in ("one", "out"))
    for name, values in one.items():
        torch.testing.assert_close(out[name], values + 0.25, atol=2e-3, rtol=2e-3)


def test_what_was_measured_of_its_confidence_goes_with_the_model(model, tmp_path, capsys):
    model.save(tmp_path / "model")
    (tmp_path / "card.md").write_text("A model.\n")
    found = {"metrics": {}, "confidence": {"calibration": {"temperature": 1.4}}}
    (tmp_path / "scores.json").write_text(json.dumps(found))
    words = [str(tmp_path / "model"), "--name", "n", "--version", "1", "--trained-on", "x",
             "--card", str(tmp_path / "card.md"), "--out", str(tmp_path / "out")]  # fmt: skip
    given = ["--confidence", str(tmp_path / "scores.json"), "--doubtful-below"]
    assert main([*words, *given, "0.3"]) == 0
    about = CaptionModel.load(tmp_path / "out").config.about
    assert about["confidence_temperature"] == 1.4 and about["doubtful_below"] == 0.3
    assert main(words) == 0
    assert not CaptionModel.load(tmp_path / "out").config.about.keys() & {
        "confidence_temperature", "doubtful_below",
    }  # fmt: skip
    assert main([*words, *given, "3"]) == 2 and "0 to 1" in capsys.readouterr().err
    (tmp_path / "scores.json").write_text('{"metrics": {}, "confidence": {}}')
    assert main([*words, *given, "0.3"]) == 2
    assert "has no temperature of confidence" in capsys.readouterr().err
