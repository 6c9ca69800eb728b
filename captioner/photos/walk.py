"""The photos that paths name: files as given, folders searched through."""

import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from captioner.errors import PhotoError

from .raw import reads_raw
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
RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw",
    ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))  # fmt: skip
"""What cameras keep before they make a photo of it."""
VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".mpeg", ".mts", ".webm", ".wmv",
)  # fmt: skip
KINDS = dict.fromkeys(RAW_SUFFIXES, "raw (which the extra captioner[raw] reads)") | dict.fromkeys(
    VIDEO_SUFFIXES, "video"
)
"""What else lies among photos, by its suffix."""
BESIDE = (".txt", ".caption", ".xmp")
"""Suffixes of what belongs to the photo of the same name."""
KEPT = "_original"
"""What is put behind the name of a photo as it was before a description was written into it."""
RUN = ".run.json"
"""The end of the name of a job's settings, which the names of its other files follow."""


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

    `ignored` is called with what is left out, as (why, path): "hidden", "seen before", a kind of
    file such as "raw", or "not a photo". What belongs to the photos is not: their text files and
    sidecars, what they were before a description was written into them, and the files of a job.
    `unread` is called with folders below that cannot be read, as (path, sentence); a warning is
    logged without it.

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
        for name in photos_among(files, lambda why, name: leave(why, here, name)):  # noqa: B023
            yield Path(here, name)


def photos_among(files: list[str], ignored: Callable[[str, str], None]) -> Iterator[str]:
    """The photos among the names of a folder's files, sorted. `ignored` is called with what is left
    out, as (why, name), as `walk_photos` has it."""
    taken = PHOTO_SUFFIXES | RAW_SUFFIXES if reads_raw() else PHOTO_SUFFIXES
    belongs = _belongings(files)
    for name in sorted(files):
        suffix = _split(name)[1].lower()
        if name.startswith("."):
            ignored("hidden", name)
        elif suffix in taken:
            yield name
        elif name not in belongs:
            ignored(KINDS.get(suffix, "not a photo"), name)


def _belongings(files: list[str]) -> frozenset[str]:
    """The files of a folder that belong to photos or to a job there."""
    parts = {name: _split(name) for name in files}
    known = PHOTO_SUFFIXES | RAW_SUFFIXES
    photos = {name for name, (_, suffix) in parts.items() if suffix.lower() in known}
    beside = {name.lower() for name in photos} | {parts[name][0].lower() for name in photos}
    jobs = {name.removesuffix(RUN) for name in files if name.endswith(RUN)}
    return frozenset(
        name
        for name, (stem, suffix) in parts.items()
        if name.removesuffix(KEPT) in photos
        or (suffix.lower() in BESIDE and stem.lower() in beside)
        or (jobs and any(name.removesuffix(end) in jobs for end in (RUN, ".errors.jsonl", suffix)))
    )


def _split(name: str) -> tuple[str, str]:
    """A file's stem and suffix, as `Path` has them, which takes ten times as long."""
    at = name.rfind(".")
    return (name[:at], name[at:]) if 0 < at < len(name) - 1 else (name, "")
