"""Photographs to patch features: one interface over pretrained vision backbones.

`build_encoder(config)` gives a `PatchEncoder` for a backbone of timm or transformers. Called with
pixels (B, 3, S, S), it returns `PatchFeatures`: one C-wide vector for each cell of a grid laid over
the photograph, rows first, with class and register tokens already dropped.

`config_for(library, name)` fills in the size, mean and std that belong to the backbone.
docs/encoders.md says which backbones there are and how they are named.
"""

from .base import PatchEncoder, PatchFeatures
from .build import build_encoder, config_for, has_weights, library_of
from .config import HALF_MEAN, EncoderConfig
from .folding import fold_batch_norm

__all__ = [
    "HALF_MEAN",
    "EncoderConfig",
    "PatchEncoder",
    "PatchFeatures",
    "build_encoder",
    "config_for",
    "fold_batch_norm",
    "has_weights",
    "library_of",
]
