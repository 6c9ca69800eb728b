"""What a Captioner asks of a model: one of ours (`model`), or one from the hub (`hub`).

photos --see--> memory, once a batch --write--> captions --look--> where each token looked
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from .attention import Combine, Placement
from .generation import Hypothesis, Processor, Search
from .photos import Photo
from .request import Request
from .tokenizer import Vocabulary

M = TypeVar("M")


class Model(Protocol[M]):
    """What writes captions. M is what it knows of a batch of photos once it has seen them."""

    @property
    def tokenizer(self) -> Vocabulary:
        """What its tokens write."""
        ...

    @property
    def about(self) -> dict[str, Any]:
        """What it is, for people: name, version, what it was trained on."""
        ...

    @property
    def search(self) -> Search:
        """The search that it uses unless told otherwise."""
        ...

    @property
    def side(self) -> int:
        """Pixels of a photo's shorter side that it makes use of."""
        ...

    @property
    def square(self) -> bool:
        """Whether it sees squares of `side` pixels, which may be made in another process; else it
        is given the photos themselves."""
        ...

    @property
    def maps(self) -> str:
        """What its maps are, for people; "" when it has none."""
        ...

    @property
    def fades(self) -> bool:
        """Whether its memory can be faded, which evidence maps need."""
        ...

    @property
    def layers(self) -> list[str]:
        """The names, for people, of the L layers whose maps there are."""
        ...

    @property
    def combine(self) -> Combine:
        """Which layers and heads make a heatmap."""
        ...

    def check(self, request: Request) -> None:
        """Raises SettingError for a setting that this kind of model has no use for."""
        ...

    def see(self, photos: Sequence[Photo], request: Request) -> M:
        """A batch of photos seen: all of them that writing and looking need."""
        ...

    def write(
        self,
        memory: M,
        search: Search | None = None,
        *,
        prefix: Sequence[int] = (),
        processors: Sequence[Processor] = (),
    ) -> list[list[Hypothesis]]:
        """Captions of the photos in `memory`, best first for each. Options as
        `generation.generate`."""
        ...

    def part(self, memory: M, photos: Sequence[int]) -> M:
        """The memory of some of the photos in it."""
        ...

    def look(self, memory: M, captions: Sequence[Sequence[int]]) -> Iterable[Tensor]:
        """The second look at finished captions, one a photo: for each its attention weights
        (L, H, T, N) float32, position t being where the model looked to write token t."""
        ...

    def logprobs(self, memory: M, captions: Sequence[Sequence[int]]) -> list[Tensor]:
        """How probable finished captions are, one a photo: of each the log-probabilities (T + 1,)
        float32 of its tokens and of the end token, given what stands before them.

        Raises SettingError for a caption that has more tokens than the model has places for.
        """
        ...

    def faded(self, memory: M, shown: Tensor) -> M:
        """The memory with its photos faded, where the model `fades`: shown (B, N), 0 to 1, is how
        much is left of each of the N positions; in place of the rest is their mean."""
        ...

    def placement(self, memory: M, photo: int) -> Placement:
        """Where on a photo the N positions are that the model looks at."""
        ...
