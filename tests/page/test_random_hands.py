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


def run(open_page, photos, captions, seeds) -> None:
    for seed in seeds:
        page = open_page()
        page.on("dialog", lambda dialog: dialog.accept())
        page.expected = EXPECTED
        hands = Hands(page, photos, captions, seed)
        try:
            hands.act(steps=10)
            hands.end()
        except Exception as error:
            raise AssertionError(f"seed {seed}, after {' '.join(hands.done)}") from error
        page.context.close()


@pytest.mark.long
@pytest.mark.parametrize("part", range(2))
def test_a_dozen_random_sequences(open_page, photos, captions, part):
    run(open_page, photos, captions, range(6 * part, 6 * part + 6))


@pytest.mark.long
@pytest.mark.parametrize("part", range(20))
def test_two_hundred_random_sequences(open_page, photos, captions, part):
    run(open_page, photos, captions, range(10 * part, 10 * part + 10))
