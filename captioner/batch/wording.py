"""Literal text in captions: what dataset makers put around them, and words exchanged for others."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from captioner.errors import SettingError
from captioner.settings import setting

if TYPE_CHECKING:
    from captioner.caption import Caption


@dataclass(frozen=True)
class Wording:
    """What becomes of a caption before it is written anywhere: words are exchanged, then text is
    put around it, its case kept.

        Wording(before="sks dog, ", after=", photo", replace=("dog=puppy",))("A dog runs.")
        # sks dog, A puppy runs, photo
    """

    before: str = setting(
        "", 'Put this text before every caption, as it is: "sks dog, ".', value="TEXT",
        group="Changed by hand",
    )  # fmt: skip
    after: str = setting(
        "", 'Put this text after every caption, as it is: ", photo".', value="TEXT"
    )  # fmt: skip
    replace: tuple[str, ...] = setting(
        (), "Write NEW for the word OLD wherever it stands; may be given again.",
        value="OLD=NEW",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for one in self.replace:
            if not one.partition("=")[0].strip() or "=" not in one:
                raise SettingError(f"`replace` {one!r} is to be OLD=NEW, such as man=person.")

    def __call__(self, caption: str) -> str:
        """The caption in this wording."""
        for one in self.replace:
            old, new = map(str.strip, one.split("=", 1))
            pattern = rf"(?<!\w){re.escape(old)}(?!\w)"
            caption = re.sub(pattern, lambda m, new=new: _like(new, m[0]), caption, flags=re.I)  # type: ignore[misc]
        if self.after[:1] in tuple(",;:"):
            caption = caption.removesuffix(".")
        return f"{self.before}{caption}{self.after}"

    def of(self, caption: Caption) -> Caption:
        """A caption and its alternatives in this wording; its words stay those of the model."""
        if self == Wording():
            return caption
        others = [replace(one, text=self(one.text)) for one in caption.alternatives]
        return replace(caption, text=self(caption.text), alternatives=others)


def _like(new: str, old: str) -> str:
    """The new word, with a capital where the old one had it."""
    return new[:1].upper() + new[1:] if old[:1].isupper() else new
