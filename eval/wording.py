"""How captions are worded, which CIDEr-D does not see; beside it the same figures of captions that
people wrote, one for each photo."""

from collections.abc import Mapping, Sequence

from captioner.tokenizer import clean_caption
from train.language_penalty import LanguagePenalty

PHRASES = ("on top of", "a group of")
"""What captions of trained models say too often."""


def wording(captions: Sequence[str], penalty: LanguagePenalty) -> dict[str, float]:
    """The different captions and words, the share of captions with each of `PHRASES`, and how many
    have an article that the next word does not take, or say a word of content twice."""
    texts = [clean_caption(caption) for caption in captions]
    words = [text.split() for text in texts]
    figures: dict[str, float] = {
        "captions": len(texts),
        "different_captions": len(set(texts)),
        "different_words": len({word.strip(",;:!?\"'") for row in words for word in row}),
        "words_a_caption": round(sum(map(len, words)) / max(1, len(words)), 2),
    }
    for phrase in PHRASES:
        share = sum(f" {phrase} " in f" {text} " for text in texts) / max(1, len(texts))
        figures[phrase.replace(" ", "_")] = round(share, 4)
    figures["wrong_articles"] = sum(penalty.wrong_articles(row) > 0 for row in words)
    figures["said_twice"] = sum(penalty.said_twice(row) > 0 for row in words)
    return figures


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """The figures of several writers side by side."""
    names = list(next(iter(figures.values())))
    head = f"{'':<20}" + "".join(f"{writer:>12}" for writer in figures)
    rows = [
        f"{name.replace('_', ' '):<20}" + "".join(f"{f[name]:>12g}" for f in figures.values())
        for name in names
    ]
    return "\n".join([head, *rows])
