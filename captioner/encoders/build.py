"""From a config to its encoder. The libraries are imported only when they are used."""

import contextlib
import json
import re
from importlib import import_module
from pathlib import Path

from ..errors import ModelError
from .base import PatchEncoder
from .beside import BesideEncoder
from .config import EncoderConfig
from .lite import LiteEncoder, architecture_of

ENCODERS = {"timm": "TimmEncoder", "transformers": "TransformersEncoder"}


def build_encoder(config: EncoderConfig) -> PatchEncoder:
    """The encoder that a config names, with random weights unless it is a hub id, folder or tag.

    A config with a `backbone` (a saved model's) is built from that alone, with random weights.
    Raises ModelError, a sentence, for an unknown library or name, weights that are missing,
    damaged or not safetensors, a size that the backbone cannot take, and a backbone whose patch
    grid cannot be known.
    """
    if architecture_of(config):
        return BesideEncoder(config) if config.detector else LiteEncoder(config)
    if config.detector:
        raise ModelError(f"A detector goes beside an EfficientNet-Lite, not {config.name!r}.")
    return encoder_class(config.library)(config)


def config_for(
    library: str,
    name: str,
    size: int | None = None,
    *,
    fold_batch_norm: bool = True,
    frozen_stages: int = 0,
) -> EncoderConfig:
    """The config of a backbone with the mean, std and size that it was trained with.

    `size` overrides its own; the rest are fields. Raises ModelError for an unknown backbone, and
    where a folder or hub id does not say how its photographs are prepared.
    """
    mean, std, own = encoder_class(library).preparation(name)
    return EncoderConfig(
        library, name, size or own, tuple(mean), tuple(std),
        fold_batch_norm=fold_batch_norm, frozen_stages=frozen_stages,
    )  # fmt: skip


def library_of(name: str) -> str:
    """The library of a backbone: transformers for a folder that it saved and for a hub id
    (owner/model), else timm."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            text = (folder / "config.json").read_text(encoding="utf-8")
            return "transformers" if json.loads(text).get("model_type") else "timm"
    owned = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+(@.+)?", name)
    return "transformers" if owned and not name.startswith("timm/") else "timm"


def has_weights(library: str, name: str) -> bool:
    """Whether a name brings pretrained weights, or stands for an architecture alone. Raises
    ModelError for a library or a name that is not known."""
    return encoder_class(library).has_weights(name)


def encoder_class(library: str) -> type[PatchEncoder]:
    """The class that wraps a library's backbones."""
    if library not in ENCODERS:
        raise ModelError(
            f"There is no encoder library {library!r}; choose one of {', '.join(ENCODERS)}."
        )
    found: type[PatchEncoder] = getattr(
        import_module(f".{library}", __package__), ENCODERS[library]
    )
    return found
