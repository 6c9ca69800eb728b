"""Anything that holds a photograph -> an upright RGB photo, or one sentence that says why not.

    photo = load_photo("holiday.jpg", min_side=260)   # Photo(image, width, height, ...)
    pixels = to_square(photo, 260)                    # (260, 260, 3) uint8

`load_photo` takes a path, bytes, a binary file, a PIL image, a numpy array or a torch tensor. Only
`PhotoError` leaves it, whatever the bytes are. Neither torch nor any decoder is imported before it
is needed, and nothing of PIL's global state is read or changed: a photo's size is taken from its
header and checked here before a pixel is decoded.
"""

from .limits import DEFAULT_LIMITS, Limits
from .load import Photo, PhotoSource, load_photo, to_square
from .walk import PHOTO_SUFFIXES, find_photos, photos_among, walk_photos

__all__ = [
    "DEFAULT_LIMITS",
    "PHOTO_SUFFIXES",
    "Limits",
    "Photo",
    "PhotoSource",
    "find_photos",
    "load_photo",
    "photos_among",
    "to_square",
    "walk_photos",
]
