"""`python -m eval speed --peers` with a model of no size."""

import argparse

import pytest

from captioner.errors import SettingError
from captioner.samples import sample_photos
from eval import peers, speed


def test_one_family_beside_generate(monkeypatch, capsys):
    pytest.importorskip("skimage", reason="the sample photographs")
    import transformers

    def small():
        text = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 32, "eos_token_id": 3,
                "num_hidden_layers": 1, "num_attention_heads": 2, "encoder_hidden_size": 32,
                "bos_token_id": 58, "sep_token_id": 3, "pad_token_id": 0}  # fmt: skip
        vision = {"image_size": 32, "hidden_size": 32, "intermediate_size": 32,
                  "num_hidden_layers": 1, "num_attention_heads": 2}  # fmt: skip
        config = transformers.BlipConfig(text_config=text, vision_config=vision)
        images = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
        net = transformers.BlipForConditionalGeneration(config).eval()
        return net, images, peers._tokenizer(58)

    monkeypatch.setattr(peers, "_blip_base", small)
    monkeypatch.setattr(peers, "_memory", lambda *of: {"ours_mb": 1.0, "theirs_mb": 2.0})
    options = argparse.Namespace(batch_size=2, beams=3, rounds=2, only="blip")
    figures = peers.measure(sample_photos(), options)
    assert "vit-gpt2" not in figures and figures["blip-base"]["equal"]
    assert figures["blip-base"]["ours"]["text"] > 0
    peers.show(figures)
    out, told = capsys.readouterr()
    assert "BLIP-base: captions equal" in out and "ViT-GPT2" not in out
    sides = [line.split(": ")[0] for line in told.splitlines()]
    assert sides == ["BLIP-base, our search", "BLIP-base, generate"] * 3
    options.only = "t5"
    with pytest.raises(SettingError, match="beginning of blip-base or vit-gpt2, not t5"):
        peers.measure(sample_photos(), options)


def test_one_family_is_of_the_peers(capsys):
    assert speed.main(["--only", "blip"]) == 2
    assert "--only goes with --peers" in capsys.readouterr().err
