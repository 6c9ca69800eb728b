"""CLIPScore with a random CLIP checkpoint, against the formula and the library's own forward."""

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.errors import DataError, ModelError
from captioner.metrics.clip import clip_scores
from tests.hub.checkpoints import byte_bpe

CAPTIONS = ["A black dog runs over the snow.", "A plate of food on a table.", "Two dogs."]
REFERENCES = [["A dog in snow.", "A dog runs."], ["Food on a plate."], ["Two dogs play.", "Dogs."]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The folder of a random CLIP model."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = byte_bpe(roberta=True)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": len(tokenizer), "max_position_embeddings": 40,
                     "eos_token_id": tokenizer.eos_token_id,
                     "bos_token_id": tokenizer.bos_token_id},
        vision_config={**sizes, "image_size": 32, "patch_size": 8}, projection_dim=12,
    )  # fmt: skip
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    side = {"shortest_edge": 32}
    CLIPImageProcessor(size=side, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photos():
    noise = np.random.default_rng(0)
    return [Image.fromarray(noise.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in CAPTIONS]


def test_the_scores_are_those_of_the_formula(clip, photos):
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    net = CLIPModel.from_pretrained(clip).eval()
    tokenizer = AutoTokenizer.from_pretrained(clip)
    pixels = AutoImageProcessor.from_pretrained(clip)(images=photos, return_tensors="pt")

    def embedded(texts):
        given = tokenizer([f"A photo depicts {t}" for t in texts], padding=True,
                          return_tensors="pt")  # fmt: skip
        with torch.inference_mode():
            return net(input_ids=given["input_ids"], attention_mask=given["attention_mask"],
                       pixel_values=pixels["pixel_values"])  # fmt: skip

    whole = embedded(CAPTIONS)
    own = 2.5 * (whole.image_embeds * whole.text_embeds).sum(-1).clamp(min=0).numpy()
    assert (own > 0).any()
    found = clip_scores(photos, CAPTIONS, clip, references=REFERENCES, batch_size=2)
    np.testing.assert_allclose(found["CLIPScore"].per_image, own, atol=1e-5)
    assert found["CLIPScore"].value == pytest.approx(own.mean(), abs=1e-5)
    other = [
        float((embedded(group).text_embeds @ text).max().clamp(min=0))
        for text, group in zip(whole.text_embeds, REFERENCES, strict=True)
    ]
    both = [2 * a * b / (a + b) if a + b else 0 for a, b in zip(own, other, strict=True)]
    np.testing.assert_allclose(found["RefCLIPScore"].per_image, both, atol=1e-5)
    assert list(clip_scores(photos, CAPTIONS, clip)) == ["CLIPScore"]


def test_what_does_not_fit_is_a_sentence(clip, photos, tmp_path):
    with pytest.raises(DataError, match="3 photos and 2 captions"):
        clip_scores(photos, CAPTIONS[:2], clip)
    with pytest.raises(DataError, match="references for each"):
        clip_scores(photos, CAPTIONS, clip, references=REFERENCES[:2])
    with pytest.raises(ModelError, match="cannot be loaded as a CLIP model"):
        clip_scores(photos, CAPTIONS, tmp_path)
