"""Captioning many photos: finding them, decoding ahead of the model, resuming, writing.

The names below are imported when they are first asked for: the processes that decode photos import
parts of this package, and must not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .items import Item
    from .run import Done, caption_items
    from .sources import find_items

__all__ = ["Done", "Item", "caption_items", "find_items"]
_HOMES = {"Item": ".items", "find_items": ".sources"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, ".run"), __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
