"""The page after whatever random hands have done to it."""

import pytest

from .hands import Hands

# What the browser says of a connection that is gone, and of pictures that were replaced.
EXPECTED = ("ERR_INTERNET_DISCONNECTED", "Failed to load resource", "ERR_FILE_NOT_FOUND")


@pytest.fixture(scope="session")
def captions(model, photos) -> list[list[str]]:
    """Of each sample photo the captions that the page may show."""
    found = [model.caption(photo, alternatives=2) for photo in photos[:6]]
    return [[one.text, *(other.text for other in one.alternatives)] for one in found]


SOME = 12
"""Sequences that belong to every change; the others are tried before a release."""
SEEDS = [pytest.param(n, marks=[] if n < SOME else pytest.mark.long) for n in range(200)]


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_hands_do_the_page_answers_with_the_right_caption(
    open_page, photos, captions, seed
):
    page = open_page()
    page.on("dialog", lambda dialog: dialog.accept())
    page.expected = EXPECTED
    hands = Hands(page, photos, captions, seed)
    try:
        hands.act(steps=10)
        hands.end()
    except Exception as error:
        raise AssertionError(f"after {' '.join(hands.done)}") from error
