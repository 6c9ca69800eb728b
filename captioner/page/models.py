"""The models that the page offers, each loaded once, when it is first wanted."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captioner.captioner import BUILTIN, Captioner, load
from captioner.errors import CaptionerError, ModelError
from captioner.hub.base import HubModel
from captioner.hub.locate import is_hub, locate

BOX = "the model in the box"


class Models:
    """Names -> captioners. The first one is loaded at once, so that a wrong folder is told early.

    sources: what they are loaded by, folders or hub names, or what a server calls those that it
    runs; without any the model in the box, or the server's only one.

    Raises ModelError when there is no first one.
    """

    def __init__(
        self,
        sources: Sequence[str] = (),
        *,
        device: str | None = None,
        dtype: str | None = None,
        server: str | None = None,
        runtime: str | None = None,
    ):
        self.device, self.dtype, self.server, self.runtime = device, dtype, server, runtime
        self._loaded: dict[str, Captioner] = {}
        self._lock = threading.Lock()
        if server and not sources:
            only = self._load(None)
            self._loaded[only.name], sources = only, [only.name]
        self.sources = {self._called(source): source for source in sources or [str(BUILTIN)]}
        self.get()

    def _called(self, source: str) -> str:
        in_box = not self.server and Path(source).resolve() == BUILTIN.resolve()
        return BOX if in_box else source

    def _load(self, source: str | None) -> Captioner:
        return load(
            source, device=self.device, dtype=self.dtype, server=self.server, runtime=self.runtime
        )

    @property
    def names(self) -> list[str]:
        return list(self.sources)

    def get(self, name: str | None = None) -> Captioner:
        """A model by its name, the first one without. Raises CaptionerError, ModelError."""
        name = name or self.names[0]
        if name not in self.sources:
            raise CaptionerError(f"There is no model {name!r}; choose {' or '.join(self.names)}.")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(self.sources[name])
            return self._loaded[name]

    def name_of(self, captioner: Captioner) -> str:
        """What `get` knows it by: two models may call themselves the same."""
        with self._lock:
            return next(name for name, one in self._loaded.items() if one is captioner)

    def warm(self) -> None:
        """Caption a grey square: the first person's photo then takes no longer than the next. A
        server is not asked for it."""
        if not self.server:
            self.get().caption(np.full((64, 64, 3), 128, np.uint8), alternatives=2, beams=3)

    def card(self, name: str) -> str:
        """The model's own card, Markdown; a line that says so where there is none. That of the hub
        has the licence first, and is there before the model is loaded."""
        if self.server:
            return f"# {name}\n\nThis model runs on a server, which sends no card and no licence."
        loaded, source = self._loaded.get(name), self.sources[name]
        if loaded and isinstance(loaded.model, HubModel):
            return loaded.model.checkpoint.card
        if is_hub(source):
            try:
                return locate(source, weights=()).card
            except ModelError as error:
                return f"# {name}\n\n{error}"
        try:
            return (Path(source) / "MODEL_CARD.md").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return f"# {self.get(name).name}\n\nThis model has no card."
