"""From captions as people write them to the tokens that the scores count."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from captioner.errors import DataError


def tokenize_captions(captions: Sequence[str]) -> list[str]:
    """The tokens of each caption joined by spaces, as Stanford's PTB tokenizer makes them."""
    # Its many patterns take long to compile, and scoring tokens does not need them.
    from captioner.metrics.ptb import ptb_tokenize

    return ptb_tokenize(captions)


def prepare(
    candidates: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: bool
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """One candidate per image and its references, as tokens joined by spaces.

    Raises:
        DataError: when they are not lists of strings, not as many, or none.
    """
    if len(candidates) != len(references):
        raise DataError(
            f"There are {len(candidates)} candidates for {len(references)} images; "
            "give one caption per image."
        )
    if not len(candidates):
        raise DataError("There is nothing to score: the list of candidates is empty.")
    return (
        prepare_candidates(candidates, tokenize=tokenize),
        prepare_references(references, tokenize=tokenize),
    )


def prepare_candidates(candidates: Sequence[str], *, tokenize: bool) -> Sequence[str]:
    """The candidates as tokens joined by spaces.

    Raises:
        DataError: when they are not a list of strings.
    """
    if isinstance(candidates, str) or not all(isinstance(c, str) for c in candidates):
        raise DataError("The candidates must be a list of strings, one caption each.")
    return tokenize_captions(candidates) if tokenize else candidates


def prepare_references(
    references: Sequence[Sequence[str]], *, tokenize: bool, end_token: str | None = None
) -> Sequence[Sequence[str]]:
    """Each image's references as tokens joined by spaces, and the end token behind, if any.

    Raises:
        DataError: when they are not a list of lists of strings, or an image has none.
    """
    for place, captions in enumerate(references):
        if isinstance(captions, str) or not all(isinstance(c, str) for c in captions):
            raise DataError(
                f"The references of image {place} must be a list of strings, not "
                f"{type(captions).__name__}: give a list of captions for every image."
            )
        if not len(captions):
            raise DataError(f"Image {place} has no references; give at least one, or leave it out.")
    if tokenize:
        # One call for all: the tokenizer's start costs more than a caption.
        flat = iter(tokenize_captions([c for captions in references for c in captions]))
        references = [list(islice(flat, len(captions))) for captions in references]
    if end_token is not None:
        references = [[f"{caption} {end_token}" for caption in group] for group in references]
    return references
