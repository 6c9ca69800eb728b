"""The models that the page offers, each loaded once, when it is first wanted."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captioner.captioner import BUILTIN, Captioner, load
from captioner.errors import CaptionerError
from captioner.hub.base import HubModel

BOX = "the model in the box"


class Models:
    """Names -> captioners. The first one is loaded at once, so that a wrong folder is told early.

    Raises ModelError when the first folder holds no model.
    """

    def __init__(
        self,
        folders: Sequence[str] = (),
        *,
        device: str | None = None,
        dtype: str | None = None,
    ):
        self.folders: dict[str, Path] = {}
        for folder in folders or [str(BUILTIN)]:
            path = Path(folder)
            self.folders[BOX if path.resolve() == BUILTIN.resolve() else folder] = path
        self.device, self.dtype = device, dtype
        self._loaded: dict[str, Captioner] = {}
        self._lock = threading.Lock()
        self.get()

    @property
    def names(self) -> list[str]:
        return list(self.folders)

    def get(self, name: str | None = None) -> Captioner:
        """A model by its name, the first one without. Raises CaptionerError, ModelError."""
        name = name or self.names[0]
        if name not in self.folders:
            raise CaptionerError(f"There is no model {name!r}; choose {' or '.join(self.names)}.")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load(
                    str(self.folders[name]), device=self.device, dtype=self.dtype
                )
            return self._loaded[name]

    def name_of(self, captioner: Captioner) -> str:
        """What `get` knows it by: two models may call themselves the same."""
        with self._lock:
            return next(name for name, one in self._loaded.items() if one is captioner)

    def warm(self) -> None:
        """Caption a grey square: the first person's photo then takes no longer than the next."""
        self.get().caption(np.full((64, 64, 3), 128, np.uint8), alternatives=2, beams=3)

    def card(self, name: str) -> str:
        """The model's card, Markdown; a line that says so where there is none."""
        loaded = self._loaded.get(name)
        if loaded and isinstance(loaded.model, HubModel):
            return loaded.model.checkpoint.card
        try:
            return (self.folders[name] / "MODEL_CARD.md").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return f"# {self.get(name).name}\n\nThis model has no card."
