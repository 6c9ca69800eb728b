"""What a person may ask of a caption: every setting, declared once.

The options of `captioner caption`, the controls of the page and what its API accepts are made from
these fields. A setting that is None is the model's own (`search` in its config.json).
"""

import dataclasses
import difflib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypedDict

from .errors import SettingError
from .settings import setting

if TYPE_CHECKING:  # the command line declares its options by this file and must not wait for torch
    from .generation import Search

STYLES = ("sentence", "detailed", "alt", "keywords")
"""The kinds of caption that models which follow instructions can be asked for."""
OWN = "the model's own"
ELSEWHERE = {
    "num_return_sequences": "alternatives", "n": "alternatives", "do_sample": "sample",
    "max_new_tokens": "max_length", "min_new_tokens": "min_length", "bad_words": "without",
    "bad_words_ids": "without", "no_repeat_ngram_size": "no_repeat", "text": "prefix",
    "beam_size": "beams", "question": "prompt", "generator": "seed",
}  # fmt: skip
"""What the settings are called in transformers and elsewhere."""
OF_DRAWS = ("temperature", "top_k", "top_p", "seed")
"""The settings that have a meaning only where words are drawn."""
OF_WRITING = (
    "beams", "alternatives", "min_length", "max_length", "no_repeat", "prefix", "without", "sample",
    *OF_DRAWS,
)  # fmt: skip
"""The settings that have a meaning only where a caption is written, not where one is explained."""
ATTENTION, EVIDENCE = HEATMAPS = ("attention", "evidence")
"""The kinds of heatmap; "" stands for none."""


@dataclass(frozen=True)
class Request:
    """How a photo is to be captioned. The numbers are bounds of the page and the API; what makes no
    sense anywhere `Search` refuses. For heatmaps, True stands for attention and False for none."""

    beams: int | None = setting(
        None, "How many captions the search follows; 1 is the quickest.",
        least=1, most=10, label="Beams", group="How they are written", otherwise=OWN, value="N",
    )  # fmt: skip
    alternatives: int = setting(
        0, "How many further captions of each photo to give.",
        least=0, most=9, label="Other captions to show", value="N",
    )  # fmt: skip
    length_penalty: float | None = setting(
        None, "Above 0 favours longer captions, below 0 shorter ones.",
        least=-5, most=5, otherwise=OWN, value="X",
    )  # fmt: skip
    min_length: int | None = setting(
        None, "The fewest tokens of a caption; a token is about a word.",
        least=0, most=60, label="Shortest, in tokens", otherwise=OWN, value="N",
    )  # fmt: skip
    max_length: int | None = setting(
        None, "The most tokens of a caption; a token is about a word.",
        least=1, most=60, label="Longest, in tokens", otherwise=OWN, value="N",
    )  # fmt: skip
    no_repeat: int | None = setting(
        None, "Never write the same run of N tokens twice; 0 allows it.",
        least=0, most=10, otherwise=OWN, value="N",
    )  # fmt: skip
    prefix: str = setting(
        "", "Begin with these words, in lower case; the model writes on from them.",
        most=200, label="The caption begins with", value="TEXT",
    )  # fmt: skip
    without: tuple[str, ...] = setting(
        (), "Do without this word, its plural, its capitals; commas part several.",
        most=50, label="Words to do without", value="WORD",
    )  # fmt: skip
    sample: bool = setting(
        False, "Draw words at random instead of searching for the best.",
        label="Draw at random", group="Words drawn at random",
    )  # fmt: skip
    temperature: float | None = setting(
        None, "How bold the draws are: below 1 careful, above 1 daring.",
        least=0.01, most=10, label="Temperature", otherwise=OWN, value="X",
    )  # fmt: skip
    top_k: int | None = setting(
        None, "Draw from the K most probable words; 0 draws from all.",
        least=0, most=10_000, otherwise=OWN, value="K",
    )  # fmt: skip
    top_p: float | None = setting(
        None, "Draw from the most probable words that make up this share.",
        least=0.01, most=1, otherwise=OWN, value="P",
    )  # fmt: skip
    seed: int | None = setting(
        None, "Draw the same captions again, by the same number.",
        least=0, most=2**53, label="Seed", value="N", otherwise="drawn",
    )  # fmt: skip
    prompt: str = setting(
        "", "What to ask of a model that follows instructions.",
        most=2000, label="Prompt", value="TEXT", group="What else may be asked",
    )  # fmt: skip
    style: str = setting(
        "", "The kind of caption of such a model: sentence, detailed, alt or keywords.",
        most=20, label="Style", value="NAME",
    )  # fmt: skip
    explain: str = setting(
        "", "Explain this sentence instead of writing one: how probable the model finds each word, "
        "and where it looks for it.", most=500, value="TEXT",
    )  # fmt: skip
    heatmaps: str = setting(
        ATTENTION, "What the heatmaps show of a word: attention is where the model looked to write "
        "it, evidence what on the photo its probability hangs on.", most=20, flag="--maps",
        value="NAME",
    )  # fmt: skip

    def __post_init__(self) -> None:
        words = (self.without,) if isinstance(self.without, str) else self.without
        clean = tuple(w for w in (w.strip() for word in words for w in word.split(",")) if w)
        object.__setattr__(self, "without", clean)
        if isinstance(self.heatmaps, bool):
            object.__setattr__(self, "heatmaps", ATTENTION if self.heatmaps else "")
        if self.heatmaps not in ("", *HEATMAPS):
            raise SettingError(
                f"There are no `heatmaps` {self.heatmaps!r}; choose {' or '.join(HEATMAPS)}."
            )
        if self.style not in ("", *STYLES):
            raise SettingError(f"There is no `style` {self.style!r}; choose {', '.join(STYLES)}.")

    def with_(self, **changes: Any) -> Self:
        """A copy with some settings changed; None leaves a setting as it is.

        Raises SettingError for a name that is no setting.
        """
        for name in changes:
            if name not in self.__dataclass_fields__:
                raise unknown_setting(name)
        return dataclasses.replace(self, **{k: v for k, v in changes.items() if v is not None})

    def seeded(self) -> Self:
        """This, with a seed drawn where words are to be drawn and none is given."""
        if not self.sample or self.seed is not None:
            return self
        return self.with_(seed=secrets.randbelow(2**31))

    def explaining(self, text: str) -> Self:
        """This, to explain a sentence in place of writing one."""
        plain = {name: getattr(Request, name) for name in OF_WRITING}
        return dataclasses.replace(self, explain=text, **plain)

    def search(self, base: "Search") -> "Search":
        """The search that this asks for, of a model whose own is `base`.

        Raises SettingError for what makes no sense.
        """
        for name in OF_WRITING:
            if self.explain and getattr(self, name) != getattr(Request, name):
                raise SettingError(
                    f"`{name}` has no meaning beside `explain`, which writes no caption: leave one "
                    "of them out."
                )
        if self.sample and self.beams is not None:
            raise SettingError(
                "`beams` has a meaning only where captions are searched for, and `sample` draws "
                "them: leave one of them out."
            )
        if self.alternatives < 0:
            raise SettingError("`alternatives` must not be negative.")
        beams = base.beams if self.beams is None else self.beams
        if self.alternatives >= beams and self.alternatives and not self.sample:
            raise SettingError(
                f"`alternatives` is {self.alternatives}: they need a beam of at least "
                f"{self.alternatives + 1}; `beams` is {beams}."
            )
        for name in OF_DRAWS:
            if getattr(self, name) is not None and not (self.sample or base.sample):
                raise SettingError(
                    f"`{name}` has a meaning only where words are drawn at random: give `sample`, "
                    f"too, or leave `{name}` out."
                )
        names = {f.name for f in dataclasses.fields(base)} - {"sample"}
        changes = {n: v for n, v in vars(self).items() if n in names and v is not None}
        return base.with_(
            returned=1 + self.alternatives, sample=self.sample or base.sample, **changes
        )


class Keywords(TypedDict, total=False):
    """The fields of a Request as the keywords of a call, for type checkers."""

    beams: int | None
    alternatives: int | None
    length_penalty: float | None
    min_length: int | None
    max_length: int | None
    no_repeat: int | None
    prefix: str | None
    without: str | Iterable[str] | None
    sample: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    seed: int | None
    prompt: str | None
    style: str | None
    explain: str | None
    heatmaps: str | bool | None


def unknown_setting(name: str) -> SettingError:
    """The error for a keyword that is no setting, with the one that may have been meant."""
    known = [f.name for f in dataclasses.fields(Request)]
    near = difflib.get_close_matches(name.removeprefix("num_"), known, 1)
    meant = ELSEWHERE.get(name) or (near[0] if near else "")
    hint = f"did you mean {meant}?" if meant else f"known are {', '.join(known)}."
    return SettingError(f"There is no setting {name!r}: {hint}")
