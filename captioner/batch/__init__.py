"""Captioning many photos: finding them, decoding ahead of the model, resuming, writing.

The names below are imported when they are first asked for: the processes that decode photos import
parts of this package, and must not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Outcome
    from .items import Item
    from .run import caption_items
    from .sources import find_items

__all__ = ["Item", "Outcome", "caption_items", "find_items"]
_HOMES = {
    "Item": ".items",
    "Outcome": ".engine",
    "caption_items": ".run",
    "find_items": ".sources",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
