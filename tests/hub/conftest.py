"""Checkpoints of each family, made once, and what the library itself makes of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from captioner.captioner import Captioner, load

from . import chat_checkpoints, checkpoints


@pytest.fixture(scope="session", autouse=True)
def one_core() -> Iterator[None]:
    """Small models are quickest on one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(name of a function in `checkpoints`, its arguments) -> the checkpoint's folder."""
    known: dict[Any, Path] = {}

    def make(kind: str, *of: Any, **more: Any) -> Path:
        key = (kind, of, repr(sorted(more.items())))
        if key not in known:
            folder = tmp_path_factory.mktemp("hub") / "-".join([kind, *map(str, of)])
            build = chat_checkpoints.chat if kind == "chat" else getattr(checkpoints, kind)
            known[key] = build(folder, *of, **more)
        return known[key]

    return make


@pytest.fixture(scope="session")
def loaded(made: Callable[..., Path]) -> Callable[..., Captioner]:
    """As `made`, loaded on the CPU in float32."""
    known: dict[Path, Captioner] = {}

    def get(*of: Any, **more: Any) -> Captioner:
        folder = made(*of, **more)
        if folder not in known:
            known[folder] = load(folder, device="cpu", dtype="float32")
        return known[folder]

    return get
