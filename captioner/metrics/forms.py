"""The forms in which captions and references come in Python: lists, HF evaluate's names, and the
dicts of pycocoevalcap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from captioner.errors import DataError

Captions: TypeAlias = Sequence[str] | Sequence[Sequence[str]] | Mapping[Any, Any]
"""A caption or captions for each image: in order, or by the image's id."""


def paired(
    candidates: Captions | None, references: Captions | None, predictions: Captions | None = None
) -> tuple[list[str], list[list[str]]]:
    """A caption for each image, and the references of each, in the same order.

    Raises DataError for what does not fit together.
    """
    named = predictions is not None
    if named and candidates is not None:
        raise DataError("`predictions` is another name of `candidates`: give one of them.")
    found = predictions if named else candidates
    if found is None or references is None:
        raise DataError("Give a caption for each image, and `references`, the human ones.")
    if isinstance(found, Mapping) != isinstance(references, Mapping):
        raise DataError("Captions and references are both lists, or both dicts by image.")
    if isinstance(found, Mapping) and isinstance(references, Mapping):
        return _by_image(found, references) if named else _by_image(references, found)
    return [_one(one, n) for n, one in enumerate(found)], [_many(one) for one in references]


def _by_image(
    results: Mapping[Any, Any], references: Mapping[Any, Any]
) -> tuple[list[str], list[list[str]]]:
    """In the order of the references."""
    if missing := [str(image) for image in references if image not in results]:
        raise DataError(f"{len(missing)} images have no caption; the first is {missing[0]}.")
    if extra := [str(image) for image in results if image not in references]:
        raise DataError(f"{len(extra)} captions have no references; the first is {extra[0]}.")
    return (
        [_one(results[image], image) for image in references],
        [_many(captions) for captions in references.values()],
    )


def _one(value: Any, image: object) -> str:
    """The caption of an image."""
    captions = _many(value)
    if len(captions) != 1:
        raise DataError(
            f"Image {image} has {len(captions)} captions to be scored, and can have one. Of two "
            "dicts the first has the references: score(gts, res)."
        )
    return captions[0]


def _many(value: Any) -> list[str]:
    """The captions of an image: a text, or texts, or pycocoevalcap's {"caption": text}."""
    values = [value] if isinstance(value, str) else value
    return [one["caption"] if isinstance(one, Mapping) else one for one in values]
