"""Which of COCO's 80 things a caption names: "two men" are persons, "hot dogs" are no dogs.

    for mention in mentions("A man feeds a baby elephant.".split()):
        print(mention.categories, mention.start, mention.stop)   # ('person',) 1 2, ...

The words stand in `objects.toml`. Whatever asks whether a heatmap points at the thing that is named
(`python -m eval grounding`), or whether a thing that is named is in the photo at all, asks here.
"""

import functools
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = Path(__file__).with_name("objects.toml")
PEOPLE = ("person",)
EDGES = " \t.,;:!?\"'()[]{}-`“”‘’…"


@dataclass(frozen=True)
class Mention:
    """A thing that a caption names with its words `start` to `stop`.

    categories: COCO's names for it; several where the word may be any of them ("computer").
    """

    categories: tuple[str, ...]
    start: int
    stop: int


def mentions(words: Sequence[str]) -> list[Mention]:
    """The things that the words of a caption name, in order; the longest noun counts."""
    nouns = _nouns()
    plain = [word.strip(EDGES).lower() for word in words]
    found: list[Mention] = []
    at = 0
    while at < len(plain):
        stop = next(
            (stop for stop in range(min(len(plain), at + _longest()), at, -1)
             if " ".join(plain[at:stop]) in nouns),
            at,
        )  # fmt: skip
        if stop == at:
            at += 1
            continue
        if categories := nouns[" ".join(plain[at:stop])]:
            found.append(Mention(categories, at, stop))
        at = stop
    people = {m.stop for m in found if m.categories == PEOPLE}
    things = {m.start for m in found if m.categories != PEOPLE}
    return [
        m
        for m in found
        if not (plain[m.start] in _listed("attributes") and m.stop in things)
        and not (plain[m.start] in _listed("verbs") and m.start in people)
    ]


@functools.cache
def categories() -> tuple[str, ...]:
    """COCO's 80 categories, in its order."""
    return tuple(_read()["words"])


@functools.cache
def _nouns() -> dict[str, tuple[str, ...]]:
    """Every noun, in singular and plural, with its categories; none: it is another thing."""
    told = _read()
    nouns: dict[str, tuple[str, ...]] = dict.fromkeys(_forms(told["others"]), ())
    for category, listed in told["words"].items():
        for noun in _forms(listed):
            before = nouns.get(noun, ())
            nouns[noun] = before if category in before else (*before, category)
    return nouns


@functools.cache
def _listed(name: str) -> frozenset[str]:
    return frozenset(_forms(_read()[name]))


@functools.cache
def _longest() -> int:
    return max(len(noun.split()) for noun in _nouns())


@functools.cache
def _read() -> Any:
    return tomllib.loads(WORDS.read_text(encoding="utf-8"))


def _forms(listed: str) -> Iterator[str]:
    """Singulars and plurals of "man/men, dog, ..."."""
    for entry in listed.replace("\n", " ").split(","):
        singular, _, plural = " ".join(entry.split()).partition("/")
        if singular:
            yield singular
            yield plural or _plural(singular)


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")
