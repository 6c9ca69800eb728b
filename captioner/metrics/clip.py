"""CLIPScore: how well captions fit their photos, by a CLIP model, with references or without any.

    from captioner.metrics.clip import clip_scores
    found = clip_scores(photos, captions, "folder/of/clip", references=references)
    found["CLIPScore"].value, found["RefCLIPScore"].per_image

Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning". Scores of
different CLIP models are not comparable. This module needs torch and transformers, as the others of
`captioner.metrics` do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from captioner.errors import DataError, ModelError
from captioner.metrics.scoring import Metric, mean_metric
from captioner.photos import PhotoSource, load_photo

WEIGHT = 2.5
"""What a cosine is multiplied with, since those of captions and photos are small (section 3)."""
PROMPT = "A photo depicts "


def clip_scores(
    photos: Sequence[PhotoSource],
    captions: Sequence[str],
    model: str | Path,
    *,
    references: Sequence[Sequence[str]] | None = None,
    batch_size: int = 16,
) -> dict[str, Metric]:
    """CLIPScore of each caption for its photo, and with references RefCLIPScore.

    Args:
        photos: whatever `load_photo` takes.
        model: a CLIP checkpoint of the transformers library: a folder or a name of the hub.

    Raises:
        DataError: the lists do not fit. ModelError: there is no such CLIP model. PhotoError.
    """
    if len(photos) != len(captions) or not captions:
        raise DataError(f"{len(photos)} photos and {len(captions)} captions: give one for each.")
    if references is not None and (len(references) != len(captions) or not all(references)):
        raise DataError("Give references for each caption.")
    clip = _Clip(model)
    fits, alike = [], []
    for at in range(0, len(captions), batch_size):
        part = slice(at, at + batch_size)
        texts = clip.texts(captions[part])
        fits += (clip.photos(photos[part]) * texts).sum(-1).tolist()
        if references is not None:
            for text, group in zip(texts, references[part], strict=True):
                alike.append(float((clip.texts(group) @ text).max()))
    own = WEIGHT * np.maximum(fits, 0)
    found = {"CLIPScore": mean_metric(own)}
    if references is not None:
        other = np.maximum(alike, 0)
        both = own + other
        found["RefCLIPScore"] = mean_metric(
            np.divide(2 * own * other, both, out=np.zeros_like(both), where=both > 0)
        )
    return found


class _Clip:
    """A CLIP model: photos and texts as vectors of length 1."""

    def __init__(self, name: str | Path):
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        try:
            self.net: Any = CLIPModel.from_pretrained(name, use_safetensors=True).eval()
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name)
            self.images: Any = AutoImageProcessor.from_pretrained(name)
        except (OSError, ValueError, KeyError) as error:
            first = str(error).splitlines()[0]
            raise ModelError(f"{name} cannot be loaded as a CLIP model: {first}") from error

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """(texts, width)"""
        most = self.net.config.text_config.max_position_embeddings
        given = self.tokenizer(
            [PROMPT + text for text in texts], return_tensors="pt", padding=True, truncation=True,
            max_length=most,
        )  # fmt: skip
        pooled = self.net.text_model(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"]
        ).pooler_output
        return normalize(self.net.text_projection(pooled), dim=-1)

    @torch.inference_mode()
    def photos(self, photos: Sequence[PhotoSource]) -> torch.Tensor:
        """(photos, width)"""
        loaded = [load_photo(photo, min_side=512).image for photo in photos]
        pixels = self.images(images=loaded, return_tensors="pt")["pixel_values"]
        return normalize(
            self.net.visual_projection(self.net.vision_model(pixels).pooler_output), dim=-1
        )
