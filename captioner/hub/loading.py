"""The library's classes filled from a checkpoint's folder: safetensors only, no code, complete."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from captioner.errors import ModelError

from .locate import Checkpoint


def load_net(kind: Any, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> Any:
    """A model of a class of the library. Raises ModelError when weights are missing or damaged."""
    with quiet(), sentences(checkpoint):
        net, info = kind.from_pretrained(
            checkpoint.folder, dtype=dtype, use_safetensors=True, output_loading_info=True,
            local_files_only=True, trust_remote_code=False,
        )  # fmt: skip
    missing = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
    if missing:
        raise ModelError(
            f"The weights of {checkpoint.name} lack {missing[0]!r}: they and its config.json do "
            "not belong together."
        )
    return net.eval().to(device)


def load_parts(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """The image processor and the tokenizer of a checkpoint."""
    from transformers import AutoImageProcessor, AutoTokenizer

    with quiet(), sentences(checkpoint):
        return tuple(
            kind.from_pretrained(checkpoint.folder, trust_remote_code=False, local_files_only=True)
            for kind in (AutoImageProcessor, AutoTokenizer)
        )  # type: ignore[return-value]


def load_processor(checkpoint: Checkpoint) -> Any:
    """The processor of a checkpoint, for photos and text."""
    from transformers import AutoProcessor

    with quiet(), sentences(checkpoint):
        return AutoProcessor.from_pretrained(
            checkpoint.folder, trust_remote_code=False, local_files_only=True
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the library's own warnings and progress bars, which are put back afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def sentences(checkpoint: Checkpoint) -> Iterator[None]:
    """Whatever the library raises about a checkpoint becomes a ModelError that names it."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # the library raises nearly every kind
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{checkpoint.name} cannot be loaded: {first}") from error
