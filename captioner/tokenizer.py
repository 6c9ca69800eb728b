"""Text to token ids and back, and which tokens form which word.

A byte-level BPE (Sennrich et al. 2016; byte alphabet as in GPT-2) over lower-cased captions, kept
in one `tokenizer.json` of the `tokenizers` library. Byte-level means that there is no unknown
token: every string has an encoding. Frequent words are one token.

Captions are trained without their capital and their final period; `sentence()` puts both back.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from .errors import ModelError

PAD, BOS, EOS = 0, 1, 2
SPECIALS = ["<pad>", "<bos>", "<eos>"]


@dataclass(frozen=True)
class WordSpan:
    """One word of a caption: its text, and its tokens `ids[start:stop]`."""

    text: str
    start: int
    stop: int


class Vocabulary:
    """What each token writes, and so the text and the words of a row of token ids.

    token_bytes: the UTF-8 bytes of each token, with the space before it; none for special tokens.
    """

    token_bytes: list[bytes]

    def __len__(self) -> int:
        return len(self.token_bytes)

    def encode_prefix(self, prefix: str) -> list[int]:
        """Token ids of the beginning of a caption."""
        raise NotImplementedError

    def encode(self, caption: str) -> list[int]:
        """Token ids of a whole caption, without begin and end."""
        return self.encode_prefix(caption)

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """The bytes that each token of a caption adds to it."""
        return [self.token_bytes[i] for i in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The caption as the model wrote it. Special ids vanish."""
        return b"".join(self.pieces(ids)).decode("utf-8", errors="ignore").strip()

    def words(self, ids: Sequence[int]) -> list[WordSpan]:
        """The words of a caption in order, each with the run of tokens that forms it.

        Words are what stands between spaces, without punctuation at either end; a token that is
        punctuation alone belongs to no word. The texts are those of `sentence(decode(ids))`.
        """
        pieces = self.pieces(ids)
        edges, at = [], 0
        for piece in pieces:
            edges.append((at, at + len(piece)))
            at = edges[-1][1]
        spans = []
        for found in re.finditer(rb"[^ \n\t]+", b"".join(pieces)):
            text = _upright(found.group().decode("utf-8", errors="ignore"))
            core = text.strip(_EDGE_PUNCTUATION)
            if not core:
                continue
            begin = found.start() + len(text[: text.index(core)].encode())
            end = begin + len(core.encode())
            inside = [k for k, (a, b) in enumerate(edges) if a < end and b > begin and b > a]
            if inside:
                spans.append((core, inside[0], inside[-1] + 1))
        return [
            WordSpan(core if number else _capital(core), start, stop)
            for number, (core, start, stop) in enumerate(spans)
        ]

    def sentence(self, ids: Sequence[int], *, whole: bool = True) -> str:
        """The caption as a sentence: a capital at the start, and a period at the end of a whole
        one."""
        return sentence(self.decode(ids), whole=whole)


class CaptionTokenizer(Vocabulary):
    """Wraps one `tokenizers.Tokenizer`; ids 0, 1, 2 are padding, begin and end of sentence."""

    def __init__(self, tokenizer: Tokenizer):
        for token, i in zip(SPECIALS, (PAD, BOS, EOS), strict=True):
            if tokenizer.token_to_id(token) != i:
                raise ModelError(
                    f"The tokenizer has no {token} at id {i}: it is not a captioner tokenizer."
                )
        self.tokenizer = tokenizer
        size = tokenizer.get_vocab_size()
        self.token_bytes = [token_bytes(tokenizer.id_to_token(i) or "") for i in range(size)]
        for i in (PAD, BOS, EOS):
            self.token_bytes[i] = b""

    @classmethod
    def train(cls, captions: Iterable[str], vocab_size: int = 6000) -> "CaptionTokenizer":
        """Learn the BPE merges from raw captions (each is passed through `clean_caption`)."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=SPECIALS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator((clean_caption(c) for c in captions), trainer)
        return cls(tokenizer)

    @classmethod
    def from_json(cls, text: str) -> "CaptionTokenizer":
        """Load from the text of a `tokenizer.json`. Raises ModelError when it is not one."""
        try:
            return cls(Tokenizer.from_str(text))
        except ModelError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"The tokenizer cannot be read: {error}.") from error

    @classmethod
    def load(cls, path: Path) -> "CaptionTokenizer":
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} cannot be read: {error}.") from error

    def to_json(self) -> str:
        """The tokenizer as JSON text, the same bytes for the same tokenizer."""
        data = json.loads(self.tokenizer.to_str())
        return json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    def encode(self, caption: str) -> list[int]:
        """Token ids of a caption, cleaned; without begin and end of sentence."""
        cleaned = clean_caption(caption)
        return self.tokenizer.encode(cleaned, add_special_tokens=False).ids if cleaned else []

    def encode_prefix(self, prefix: str) -> list[int]:
        """Token ids of the beginning of a caption: like `encode`, but its end is left as it is."""
        text = _collapse(prefix)
        return self.tokenizer.encode(text, add_special_tokens=False).ids if text else []


_EDGE_PUNCTUATION = " \t.,;:!?\"'()[]{}-`“”‘’…"


def _collapse(text: str) -> str:
    return " ".join(text.split())


def clean_caption(caption: str) -> str:
    """A raw caption as the decoder learns it: one space between words, none before punctuation,
    lower case, no quotation marks around it, no final period."""
    text = _collapse(caption).lower()
    text = text.replace("``", '"').replace("''", '"').replace("’", "'")
    text = re.sub(r"\s+([.,;:!?])", r"\1", text)
    text = re.sub(r"\b(\w+) (n't|'s|'re|'ve|'ll|'d|'m)\b", r"\1\2", text)
    text = re.sub(r"[\"“”#*_~^<>\\|]", "", text)
    return _collapse(text).strip(" .,;:-'!")


def sentence(text: str, *, whole: bool = True) -> str:
    """`a dog runs` -> `A dog runs.`; the empty string stays empty, and what was cut short, open."""
    text = text.strip()
    if not text:
        return ""
    text = _capital(_upright(text))
    return text if text[-1] in ".!?" or not whole else text + "."


def _upright(text: str) -> str:
    """With a capital for "i" and "i'm", as a person writes them; not for "i.e."."""
    return re.sub(r"\bi\b(?!\.)", "I", text)


def _capital(text: str) -> str:
    # Not str.capitalize: it would lower the rest. Some letters have capitals of two characters.
    return text[:1].upper() + text[1:]


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes: printable ones are themselves."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in keep}
    shifted = (b for b in range(256) if b not in set(keep))
    table.update({chr(256 + n): b for n, b in enumerate(shifted)})
    return table


_BYTES = _byte_alphabet()


def token_bytes(token: str) -> bytes:
    return bytes(_BYTES[c] for c in token if c in _BYTES)
