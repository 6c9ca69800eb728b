"""A rule of the search: words that captions do without."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .tokenizer import Vocabulary


class BannedWords:
    """These whole words are never completed, however they might be spelled out in tokens. A longer
    word that merely begins with one of them is barred too, where its tokens pass through it."""

    def __init__(self, words: Sequence[str], tokenizer: Vocabulary):
        self.tokenizer = tokenizer
        self.words = [b" " + w.lower().encode() for w in words]
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
