"""A rule of the search: words that captions do without."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .tokenizer import Vocabulary

IRREGULAR = {
    "man": "men", "woman": "women", "person": "people", "child": "children", "foot": "feet",
    "tooth": "teeth", "goose": "geese", "mouse": "mice", "ox": "oxen", "die": "dice",
    "leaf": "leaves", "loaf": "loaves", "shelf": "shelves", "half": "halves", "calf": "calves",
    "wolf": "wolves", "thief": "thieves", "scarf": "scarves", "hoof": "hooves", "elf": "elves",
    "knife": "knives", "wife": "wives", "life": "lives", "cactus": "cacti",
}  # fmt: skip
"""Plurals that no rule gives; of compounds too: "snowman", "bookshelf"."""
SHORT = 3
"""Letters that a word has at least for its plural to be meant: "a" does not ban "as"."""


def forms(word: str) -> list[str]:
    """A word in lower case and its plurals, as they might be: table, tables, tablees."""
    if len(word) < SHORT or not word.isalpha():
        return [word]
    found = [word, word + "s", word + "es"]
    if word.endswith("y"):
        found.append(word[:-1] + "ies")
    for one, many in IRREGULAR.items():
        # No compound ends with two or three letters that say nothing: "fox" is no ox.
        if word == one or (len(one) > SHORT and word.endswith(one)) or (
            one == "man" and word.endswith("man") and word != "human"
        ):  # fmt: skip
            found.append(word.removesuffix(one) + many)
    return found


class BannedWords:
    """A search rule: these whole words and their plurals are never completed, in capitals or not,
    however they might be spelled out in tokens. A longer word that merely begins with one of them
    is barred too, where its tokens pass through it."""

    def __init__(self, words: Sequence[str], tokenizer: Vocabulary):
        self.tokenizer = tokenizer
        self.words = [b" " + form.encode() for word in words for form in forms(word.lower())]
        self.ids: dict[bytes, list[int]] = {}
        for i, text in enumerate(tokenizer.token_bytes):
            if text:
                self.ids.setdefault(text.lower(), []).append(i)
        self.longest = max(len(w) for w in self.words)

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        for row, tokens in enumerate(ids.tolist()):
            text = b"".join(self.tokenizer.token_bytes[t] for t in tokens[-self.longest :]).lower()
            if len(tokens) <= self.longest and not text.startswith(b" "):
                text = b" " + text  # the first word of a caption needs no space before it
            for word in self.words:
                # Every way in which the text so far may already hold a beginning of the word.
                for held in range(min(len(word) - 1, len(text)) + 1):
                    if text.endswith(word[:held]):
                        for token in self.ids.get(word[held:], ()):
                            logits[row, token] = -torch.inf
        return logits
