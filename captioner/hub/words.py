"""The tokenizers of hub checkpoints as a `Vocabulary`: what each token writes.

WordPiece (`dog`, `##gy`) writes a space before a word and none before what continues it; byte-level
BPE (`Ġdog`) has stand-ins for bytes; SentencePiece (`▁dog`) has a sign for the space, and tokens
such as `<0xE2>` for bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from captioner.tokenizer import Vocabulary, token_bytes

NO_SPACE_BEFORE = frozenset(".,;:!?%)]}'’-")
NO_SPACE_AFTER = frozenset("([{-$#")
CONTRACTED = frozenset(("s", "t", "m", "d", "re", "ve", "ll"))


class HubVocabulary(Vocabulary):
    """A tokenizer of the transformers library. `size` is the model's number of tokens, of which the
    tokenizer may know fewer; `hidden` are further ids that write nothing. forced: the ids that the
    model writes at the beginning of every caption without a choice."""

    def __init__(self, tokenizer: Any, size: int, hidden: Sequence[int] = ()):
        self.tokenizer = tokenizer
        self.kind = _kind(tokenizer)
        self.forced: tuple[int, ...] = ()
        special = {*tokenizer.all_special_ids, *hidden}
        texts = {i: text for text, i in tokenizer.get_vocab().items()}
        added = {i: token.content for i, token in tokenizer.added_tokens_decoder.items()}
        size = max(size, max(texts) + 1)
        self.token_bytes = [
            b"" if i in special or i not in texts
            else added[i].encode() if i in added
            else self._bytes(texts[i])
            for i in range(size)
        ]  # fmt: skip

    def _bytes(self, token: str) -> bytes:
        if self.kind == "wordpiece":
            continues = token.startswith("##") and len(token) > 2
            return token[2:].encode() if continues else b" " + token.encode()
        if self.kind == "bytes":
            return token_bytes(token)
        if byte := re.fullmatch(r"<0x([0-9A-F]{2})>", token):
            return bytes([int(byte[1], 16)])
        return token.replace("▁", " ").encode()

    def encode_prefix(self, prefix: str) -> list[int]:
        text = " ".join(prefix.split())
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        return ids

    def encode(self, caption: str) -> list[int]:
        return [*self.forced, *self.encode_prefix(caption)]

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        pieces = [self.token_bytes[i] if i < len(self.token_bytes) else b"" for i in ids]
        return _joined(pieces) if self.kind == "wordpiece" else pieces


def _joined(pieces: list[bytes]) -> list[bytes]:
    """WordPiece cuts at every punctuation mark and forgets whether a space stood there: `dog ' s`
    and `t - shirt` are put together again, and no space stands before a comma."""
    texts = [piece.decode() for piece in pieces]
    bare = [text.strip() for text in texts]
    for i in range(1, len(texts)):
        before, here = bare[i - 1], bare[i]
        contracted = before in ("'", "’") and here in CONTRACTED
        if here in NO_SPACE_BEFORE or before in NO_SPACE_AFTER or contracted:
            texts[i] = here
    return [text.encode() for text in texts]


def _kind(tokenizer: Any) -> str:
    """How the tokens of a tokenizer stand for text: "wordpiece", "bytes", or "pieces"."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    described = json.loads(backend.to_str()) if backend is not None else {}
    parts = json.dumps([described.get("decoder"), described.get("pre_tokenizer")])
    if '"WordPiece"' in parts or (described.get("model") or {}).get("type") == "WordPiece":
        return "wordpiece"
    return "bytes" if '"ByteLevel"' in parts else "pieces"
