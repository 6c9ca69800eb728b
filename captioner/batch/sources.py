"""Where the photos of a job are: files, folders, globs, lists, archives, web addresses.

    for item in find_items(["photos/", "shards/*.tar", "https://example.org/a.jpg"]):
        print(item.name)

An `Item` says where the bytes of one photo are, without holding or reading them, so that a hundred
thousand cost nothing and another process can read them. Items come as they are found; what cannot
be looked into (a damaged archive, a folder without permission) comes as an item with a `problem`,
so that nothing goes missing quietly.
"""

from __future__ import annotations

import contextlib
import glob
import io
import itertools
import json
import os
import re
import stat
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from captioner.errors import CaptionerError, DataError, PhotoError
from captioner.photos import PHOTO_SUFFIXES, Limits, walk_photos
from captioner.tars import tar_members

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


@dataclass(frozen=True, slots=True)
class Item:
    """One photo of a job: its name, and where its bytes are.

    name: as it is written in results, and what tells photos apart: the path as it was given or
        found, `archive.tar/member.jpg`, or the address.
    image_id: of an annotation file, else None.
    path: the file, or the archive that holds the photo.
    span: (first byte, bytes) within `path`, for members of uncompressed tars.
    member: the name within `path`, for members of zips.
    url: the address that the photo is fetched from.
    data: the bytes themselves, where they cannot be had again (compressed tars).
    place: where its text file goes below a folder that mirrors the input.
    problem: why there is no photo, as a sentence.
    """

    name: str
    image_id: int | str | None = None
    path: str | None = None
    span: tuple[int, int] | None = None
    member: str | None = None
    url: str | None = None
    data: bytes | None = field(default=None, repr=False)
    place: str = ""
    problem: str | None = None

    @property
    def file(self) -> Path | None:
        """The photo's own file, where it is one."""
        return Path(self.path) if self.path and not self.span and self.member is None else None


class Passed(Counter[str]):
    """How many files were passed over, by reason."""

    def one(self, why: str, _path: str = "") -> None:
        self[why] += 1

    def __str__(self) -> str:
        return ", ".join(f"{n:,} {why}" for why, n in sorted(self.items()))


def find_items(
    paths: Iterable[str | os.PathLike[str]],
    *,
    passed: Passed | None = None,
    limits: Limits | None = None,
) -> Iterator[Item]:
    """The photos that the paths name, as they are found, each name once.

    Files are taken whatever their suffix; folders are searched through (hidden files and other
    kinds of file are passed over, links followed once); a path with `*`, `?` or `[` that is not a
    file is a pattern (`**` for any depth); .tar, .tar.gz and .zip files give the photos in them;
    http and https addresses are fetched later.

    Raises:
        PhotoError: a folder that is named outright cannot be read.
    """
    counts = passed if passed is not None else Passed()
    return _once(_find(paths, counts, limits or Limits()), counts)


def check_paths(paths: Iterable[str]) -> None:
    """Raises PhotoError when a path that is named on a command line leads nowhere."""
    for path in paths:
        if not _is_url(path) and not os.path.lexists(path) and not _expand(path):
            what = "No file fits" if glob.has_magic(path) else "There is no file or folder"
            raise PhotoError(f"{what} {_shown(path)}.")


def annotated_items(
    annotations: Path, folders: Iterable[str | os.PathLike[str]], *, passed: Passed | None = None
) -> Iterator[Item]:
    """The photos that a COCO or Karpathy annotation file names, with its ids, looked for in the
    folders (default: the file's own) and one folder below.

    Raises:
        DataError: the file cannot be read or names no photos.
    """
    roots = [Path(f) for f in folders] or [annotations.parent]
    for root in roots:
        if not root.is_dir():
            raise DataError(f"With --annotations, {root} should be the folder of the photos.")
    images = _images(annotations)
    below = [f for root in roots for f in (root, *_subfolders(root))]
    items = (
        Item(str(path), image_id=number, path=str(path), place=_inside(name))
        for number, name in images
        for path in [_placed(name, roots, below)]
    )
    return _once(items, passed if passed is not None else Passed())


def read_list(source: str) -> Iterator[str]:
    """The paths of a list: a file, or "-" for standard input; one a line, or separated by NUL.

    Raises:
        DataError: the file cannot be read.
    """
    if source == "-":
        yield from _separated(sys.stdin.buffer)
        return
    try:
        with Path(source).open("rb") as stream:
            yield from _separated(stream)
    except OSError as error:
        raise DataError(f"The list {source} cannot be read: {error.strerror}.") from error


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in their order, `size` at a time; the last may be fewer."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


# Paths --------------------------------------------------------------------------------------------


def _once(items: Iterable[Item], passed: Passed) -> Iterator[Item]:
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            passed.one("named twice")
            continue
        seen.add(item.name)
        yield item


def _find(
    paths: Iterable[str | os.PathLike[str]], passed: Passed, limits: Limits
) -> Iterator[Item]:
    for given in paths:
        path = os.fspath(given)
        if _is_url(path):
            yield Item(path, url=path, place=_inside(path.partition("://")[2]))
            continue
        for found in [path] if os.path.lexists(path) else _expand(path) or [path]:
            yield from _of_path(found, passed, limits)


def _of_path(path: str, passed: Passed, limits: Limits) -> Iterator[Item]:
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        yield Item(
            path, path=path, place=Path(path).name
        )  # decoding will say what is wrong with it
        return
    if stat.S_ISDIR(mode):
        unread: list[Item] = []
        for photo in walk_photos(
            Path(path),
            passed=lambda why, file: passed.one("archives" if _is_archive(file) else why),
            unread=lambda folder, problem: unread.append(Item(folder, problem=problem)),
        ):
            yield Item(str(photo), path=str(photo), place=str(photo.relative_to(path)))
            yield from _drained(unread)
        yield from _drained(unread)
    elif stat.S_ISREG(mode) and path.lower().endswith(TARS):
        yield from _of_tar(path, passed, limits)
    elif stat.S_ISREG(mode) and path.lower().endswith(".zip"):
        yield from _of_zip(path, passed)
    else:
        yield Item(path, path=path, place=Path(path).name)


def _drained(items: list[Item]) -> Iterator[Item]:
    while items:
        yield items.pop(0)


def _is_url(path: str) -> bool:
    return path.lower().startswith(("http://", "https://"))


def _is_archive(path: str) -> bool:
    return path.lower().endswith((*TARS, ".zip"))


def _expand(pattern: str) -> list[str]:
    """What a pattern fits, in order, as a shell would have it: nothing hidden."""
    return sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []  # noqa: PTH207


def _shown(path: str) -> str:
    return path if path.isprintable() and path else repr(path)


# Archives -----------------------------------------------------------------------------------------
# Members are read where they lie: nothing is written to the disk, so no name in an archive can lead
# anywhere, and links in it are not followed.


def _of_tar(path: str, passed: Passed, limits: Limits) -> Iterator[Item]:
    plain = path.lower().endswith(".tar")
    try:
        for tar, member in tar_members(path, compressed=not plain):
            if not _is_member(member.name, member.isreg() and not member.issparse(), passed):
                continue
            name, place = f"{path}/{member.name}", _inside(f"{Path(path).name}/{member.name}")
            if plain:
                span = member.offset_data, member.size
                yield Item(name, path=path, span=span, place=place)
            elif member.size > limits.max_bytes:
                yield Item(name, problem=_too_large(name, limits))
            else:
                stream = tar.extractfile(member)
                yield Item(name, data=stream.read() if stream else b"", place=place)
    except Exception as error:  # a damaged tar raises whatever its decompressor raises
        yield Item(path, problem=_broken_archive(path, error))


def _of_zip(path: str, passed: Passed) -> Iterator[Item]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [m.filename for m in archive.infolist() if _is_member(m.filename, True, passed)]
    except Exception as error:  # zipfile raises many kinds on damaged files
        yield Item(path, problem=_broken_archive(path, error))
        return
    for name in names:
        place = _inside(f"{Path(path).name}/{name}")
        yield Item(f"{path}/{name}", path=path, member=name, place=place)


def _inside(name: str) -> str:
    """A foreign name as a place below a folder: it leads nowhere outside."""
    parts = [part for part in re.split(r"[/\0]", name) if part not in ("", ".", "..")]
    return "/".join(part[:200] for part in parts) or "unnamed"


def _is_member(name: str, regular: bool, passed: Passed) -> bool:
    """Whether a member of an archive is a photo to caption; what is not is counted."""
    if name.endswith("/") or (not regular and "." not in name.rsplit("/", 1)[-1]):
        return False  # a folder
    parts = [part for part in name.split("/") if part not in (".", "..")]
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        passed.one("hidden")
    elif not regular or Path(name).suffix.lower() not in PHOTO_SUFFIXES:
        passed.one("not a photo")
    else:
        return True
    return False


def _broken_archive(path: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{_shown(path)} cannot be opened: no permission to read it."
    return (
        f"The archive {_shown(path)} is damaged or cut short ({str(error) or type(error).__name__})"
        "; photos beyond that point are not known."
    )


def _too_large(name: str, limits: Limits) -> str:
    return f"{name} is too large a file: more than the {limits.max_bytes:,} bytes allowed."


# Lists and annotations ----------------------------------------------------------------------------


def _separated(stream: BinaryIO) -> Iterator[str]:
    """Names as they arrive; the first separator met says which it is, NUL or newline."""
    separator: bytes | None = None
    rest = b""
    # `read1` gives what is there: a slow writer's names are not held back.
    read = getattr(stream, "read1", stream.read)
    while block := read(1 << 16):
        rest += block
        if separator is None:
            separator = b"\0" if b"\0" in rest else b"\n" if b"\n" in rest else None
        if separator:
            *names, rest = rest.split(separator)
            yield from _names(names, separator)
    yield from _names([rest], separator or b"\n")


def _names(names: list[bytes], separator: bytes) -> Iterator[str]:
    for name in names:
        if separator == b"\n":
            name = name.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\r")
        if name:
            yield os.fsdecode(name)


def _images(path: Path) -> list[tuple[int | str, str]]:
    """(id, file name) of every image of an annotation file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}).") from None
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise DataError(f'{path} names no photos: it needs a list "images", as COCO\'s files have.')
    return [_image(path, place, image) for place, image in enumerate(images, 1)]


def _image(path: Path, place: int, image: Any) -> tuple[int | str, str]:
    fields = image if isinstance(image, dict) else {}
    number = next((fields[k] for k in ("id", "cocoid", "imgid") if k in fields), None)
    name = fields.get("file_name") or fields.get("filename")
    if not isinstance(number, int | str) or isinstance(number, bool) or not isinstance(name, str):
        raise DataError(
            f'{path}: image {place} needs an "id" and a "file_name" (or Karpathy\'s "cocoid" and '
            '"filename").'
        )
    folder = fields.get("filepath")
    return number, f"{folder}/{name}" if isinstance(folder, str) and folder else name


def _subfolders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _placed(name: str, roots: list[Path], below: list[Path]) -> Path:
    """Where a photo of an annotation file is; a name leads nowhere outside the folders."""
    inside = Path(_inside(name))
    candidates = (folder / tail for tail in (inside, Path(inside.name)) for folder in below)
    return next((c for c in candidates if c.is_file()), roots[0] / inside)


def sidecar(item: Item, folder: Path | None) -> Path | None:
    """Where the text file of a photo goes: at its place under the folder, or beside the photo; None
    when it has no place (beside what is in an archive or on the web)."""
    if folder:
        return (folder / (item.place or Path(item.name).name)).with_suffix(".txt")
    return item.file.with_suffix(".txt") if item.file else None


# Reading ------------------------------------------------------------------------------------------


class NamedBytes(io.BytesIO):
    """Bytes with the name that error sentences are to use."""

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.name = name


_zips: dict[str, zipfile.ZipFile] = {}


def open_item(item: Item, limits: Limits) -> str | NamedBytes:
    """What `photos.load_photo` takes: the path of a file, or the bytes of anything else.

    Raises PhotoError when there are none.
    """
    if item.problem:
        raise PhotoError(item.problem)
    if item.data is not None:
        return NamedBytes(item.data, item.name)
    if item.url:
        from .fetch import fetch

        return NamedBytes(fetch(item.url, limits.max_bytes), item.name)
    if item.path is None:
        raise CaptionerError(f"The item {item.name} has neither a path, nor bytes, nor an address.")
    if item.span:
        start, size = item.span
        if size > limits.max_bytes:
            raise PhotoError(_too_large(item.name, limits))
        with _archive_errors(item), Path(item.path).open("rb") as stream:
            stream.seek(start)
            return NamedBytes(stream.read(size), item.name)
    if item.member is not None:
        with _archive_errors(item):
            return NamedBytes(_read_member(item.path, item.member, item.name, limits), item.name)
    return item.path


def _read_member(path: str, member: str, name: str, limits: Limits) -> bytes:
    archive = _zips.get(path)
    if archive is None:
        _zips.clear()  # a job goes through its archives one after another
        archive = _zips[path] = zipfile.ZipFile(path)
    with archive.open(member) as stream:
        data = stream.read(limits.max_bytes + 1)  # whatever size the archive promises
    if len(data) > limits.max_bytes:
        raise PhotoError(_too_large(name, limits))
    return data


@contextlib.contextmanager
def _archive_errors(item: Item) -> Iterator[None]:
    """What reading a member raises, as a sentence."""
    try:
        yield
    except PhotoError:
        raise
    except Exception as error:  # zipfile raises many kinds on damaged files
        words = str(error) or type(error).__name__
        raise PhotoError(f"{item.name} cannot be read from its archive: {words}.") from None
