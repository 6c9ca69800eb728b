"""Photographs in, sentences out, and for every word where in the photograph the model looked.

    import captioner
    model = captioner.load()                 # the model in the box; load(folder) for one of yours
    caption = model.caption("photo.jpg")
    print(caption.text, caption.confidence)
    caption.contact_sheet().save("words.png")

torch is imported when a model is first asked for, so that `captioner.metrics` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import CaptionerError, DataError, ModelError, PhotoError

if TYPE_CHECKING:
    from .caption import Caption, Word
    from .captioner import Captioner, load

__version__ = "0.1.0"
__all__ = [
    "Caption",
    "Captioner",
    "CaptionerError",
    "DataError",
    "ModelError",
    "PhotoError",
    "Word",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in ("Caption", "Captioner", "Word", "load"):  # `captioner.captioner` has them all
        return getattr(import_module(".captioner", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
