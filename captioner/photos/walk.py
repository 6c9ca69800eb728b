"""The photos that paths name: files as given, folders searched through."""

import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from captioner.errors import PhotoError

from .sentences import label_of, unopened

log = logging.getLogger(__name__)

# fmt: off
PHOTO_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".avif",
    ".heic", ".heif", ".hif", ".tif", ".tiff", ".bmp", ".dib", ".jp2", ".j2k",
    ".ppm", ".pgm", ".pbm", ".pnm",
))
# fmt: on
"""File suffixes, in lower case, that a folder scan takes. A file named outright is always tried."""


def find_photos(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List the photos that the paths name: files as given, folders searched through.

    A folder gives its own photos by name, then those of its subfolders by name. Hidden files and
    folders are passed over, links to folders are followed once, and a file that several paths
    reach in the same way is listed once. A file named outright is taken whatever its suffix.

    Raises:
        PhotoError: a path that does not exist or cannot be read, or a folder without photos.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    found: dict[Path, None] = {}  # a set that keeps its order
    for given in paths:
        path = Path(given)
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            raise PhotoError(unopened(str(given), error)) from None
        if not stat.S_ISDIR(mode):
            found[path] = None
            continue
        before = len(found)
        photos = list(walk_photos(path))
        found.update(dict.fromkeys(photos))
        if not photos and len(found) == before:
            raise PhotoError(
                f"The folder {given} has no photos (files such as .jpg, .png, .webp or .heic)."
            )
    return list(found)


def walk_photos(
    folder: Path,
    *,
    ignored: Callable[[str, str], None] | None = None,
    unread: Callable[[str, str], None] | None = None,
) -> Iterator[Path]:
    """Photos below a folder; every real folder is entered once, so that link loops end.

    `ignored` is called with what is left out, as (why, path): "hidden", "not a photo", "seen
    before". `unread` is called with folders below that cannot be read, as (path, sentence); a
    warning is logged without it.

    Raises:
        PhotoError: the folder itself cannot be read.
    """
    seen: set[tuple[int, int]] = set()

    def skipped(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise PhotoError(unopened(str(folder), error)) from None
        if unread:
            unread(error.filename, f"The folder {unopened(label_of(error.filename)[0], error)}")
        else:
            log.warning("Passed over the folder %s: %s.", error.filename, error.strerror)

    def leave(why: str, *where: str) -> None:
        if ignored:
            ignored(why, os.path.join(*where))  # noqa: PTH118 (as `os.walk` gives them)

    for here, folders, files in os.walk(folder, followlinks=True, onerror=skipped):
        try:
            status = os.stat(here)  # noqa: PTH116 (once per folder; a Path is not needed)
        except OSError:  # vanished since it was listed
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in seen:
            leave("seen before", here)
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        for name in folders:
            if name.startswith("."):
                leave("hidden", here, name)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith("."):
                leave("hidden", here, name)
            elif Path(name).suffix.lower() not in PHOTO_SUFFIXES:
                leave("not a photo", here, name)
            else:
                yield Path(here, name)
