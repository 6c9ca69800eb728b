"""Where the photos of a job are: files, folders, globs, lists, archives, web addresses.

    for item in find_items(["photos/", "shards/*.tar", "https://example.org/a.jpg"]):
        print(item.name)

An `Item` says where the bytes of one photo are, without holding or reading them, so that a hundred
thousand cost nothing and another process can read them. Items come as they are found; what cannot
be looked into (a damaged archive, a folder without permission) comes as an item with a `problem`,
so that nothing goes missing quietly.
"""

from __future__ import annotations

import functools
import glob
import os
import stat
import sys
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from captioner.annotations import AnnotatedImage, located, read_annotations
from captioner.errors import CaptionerError, DataError, PhotoError
from captioner.photos import PHOTO_SUFFIXES, Limits, photos_among, walk_photos
from captioner.tars import tar_members

from . import storage
from .addresses import is_url, redacted
from .archives import is_tar, is_zip, open_archive, zip_members
from .items import Item, addressed, inside, too_large
from .name_set import NameSet
from .storage import is_storage


class Ignored(Counter[str]):
    """How many files were ignored, by reason."""

    def add(self, why: str) -> None:
        self[why] += 1

    def __str__(self) -> str:
        return ", ".join(f"{n:,} {why}" for why, n in sorted(self.items()))


def find_items(
    paths: Iterable[str | os.PathLike[str]],
    *,
    ignored: Ignored | None = None,
    limits: Limits | None = None,
    known: Container[str] = (),
) -> Iterator[Item]:
    """The photos that the paths name, as they are found, each name once.

    known: paths that are photos' names, which need no look at the disk.

    Files are taken whatever their suffix; folders are searched through (hidden files and other
    kinds of file are ignored, links followed once); a path with `*`, `?` or `[` that is not a
    file is a pattern (`**` for any depth); .tar, .tar.gz and .zip files give the photos in them;
    http and https addresses are fetched later; addresses that fsspec knows (s3://, gs://, hf://)
    are files, folders, patterns or archives likewise.

    Raises:
        PhotoError: a folder that is named outright cannot be read.
    """
    counts = ignored if ignored is not None else Ignored()
    return _once(_find(paths, counts, limits or Limits(), known), counts)


def check_paths(paths: Iterable[str]) -> None:
    """Raises PhotoError when a path that is named on a command line leads nowhere."""
    for path in paths:
        if is_storage(path):
            _check_storage(path)
        elif path != "-" and not is_url(path) and not os.path.lexists(path) and not _expand(path):
            what = "No file fits" if glob.has_magic(path) else "There is no file or folder"
            raise PhotoError(f"{what} {_shown(path)}.")


# Paths --------------------------------------------------------------------------------------------


def _once(items: Iterable[Item], ignored: Ignored) -> Iterator[Item]:
    seen = NameSet()
    for item in items:
        if seen.add(item.name):
            yield item
        else:
            ignored.add("named twice")


def _find(
    paths: Iterable[str | os.PathLike[str]],
    ignored: Ignored,
    limits: Limits,
    known: Container[str],
) -> Iterator[Item]:
    for given in paths:
        path = os.fspath(given)
        if path == "-":
            yield Item("-", data=_standard_input(limits.max_bytes + 1), place="stdin")
            continue
        if is_url(path):
            yield from filter(None, [addressed(path)])
            continue
        if is_storage(path):
            yield from _of_storage(path, ignored, limits, known)
            continue
        if path in known:
            yield Item(path, path=path, place=_last(path))
            continue
        mode = _mode(path)
        for found in [path] if mode or os.path.lexists(path) else _expand(path) or [path]:
            yield from _of_path(found, ignored, limits)


def _mode(path: str) -> int:
    """What kind of file a path leads to, for `stat`; 0 where it leads nowhere."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116 (once per photo; a Path takes longer)
    except (OSError, ValueError):
        return 0


def _last(path: str) -> str:
    """The last part of a path, as `Path.name` has it."""
    name = path.rpartition("/")[2]
    return name if name not in ("", ".") else Path(path).name


def _of_path(path: str, ignored: Ignored, limits: Limits) -> Iterator[Item]:
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        root = str(Path(path))
        above = 0 if root == "." else len(root.rstrip("/")) + 1
        unread: list[Item] = []
        for photo in walk_photos(
            Path(path),
            ignored=lambda why, file: ignored.add(
                "archives" if is_tar(file) or is_zip(file) else why
            ),
            unread=lambda folder, problem: unread.append(Item(folder, problem=problem)),
        ):
            name = str(photo)
            yield Item(name, path=name, place=name[above:])
            yield from _drained(unread)
        yield from _drained(unread)
    elif stat.S_ISREG(mode) and is_tar(path):
        yield from _of_tar(Item(path, path=path), ignored, limits)
    elif stat.S_ISREG(mode) and is_zip(path):
        yield from _of_zip(Item(path, path=path), ignored)
    else:  # where it leads nowhere, decoding will say what is wrong with it
        yield Item(path, path=path, place=_last(path))


def _drained(items: list[Item]) -> Iterator[Item]:
    while items:
        yield items.pop(0)


def _expand(pattern: str) -> list[str]:
    """What a pattern fits, in order, as a shell would have it: nothing hidden."""
    return sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else []  # noqa: PTH207


def _shown(path: str) -> str:
    return path if path.isprintable() and path else repr(path)


@functools.cache
def _standard_input(most: int) -> bytes:
    """The photo on standard input, which can be read once."""
    return sys.stdin.buffer.read(most)


# Storages -----------------------------------------------------------------------------------------


def _check_storage(address: str) -> None:
    where = storage.above_pattern(address) if glob.has_magic(address) else address
    try:
        found = storage.kind(where) or storage.kind(address)
    except storage.UnreachableError as error:
        raise CaptionerError(str(error)) from None
    if not found:
        what = "No file fits" if glob.has_magic(address) else "There is no file or folder"
        raise PhotoError(f"{what} {_shown(redacted(address))}.")


def _of_storage(
    address: str, ignored: Ignored, limits: Limits, known: Container[str]
) -> Iterator[Item]:
    """The photos at an address of a storage: a file, a folder, a pattern or an archive.

    Raises CaptionerError: it does not answer. What follows there is not known then, and it is no
    fault of a photo.
    """
    storage.check_driver(address)
    name = redacted(address)
    try:
        magic = glob.has_magic(address)
        what = "file" if name in known or (not magic and _says_its_kind(address)) else ""
        what = what or storage.kind(address)
        if what or not magic:
            yield from _of_found(address, what or "file", name in known, ignored, limits)
            return
        found = None
        for found, kind in storage.fitting(address):
            yield from _of_found(found, kind, False, ignored, limits)
        if found is None:
            yield Item(name, problem=f"No file fits {_shown(name)}.")
    except storage.UnreachableError as error:
        raise CaptionerError(
            f"{error} What has been written is safe; the same command continues."
        ) from None
    except PhotoError as error:
        yield Item(name, problem=str(error))


def _says_its_kind(address: str) -> bool:
    """Whether the name alone says that it is a file, so that nobody need be asked for each."""
    suffix = Path(storage.last(address)).suffix.lower()
    return not address.endswith("/") and (
        suffix in PHOTO_SUFFIXES or is_tar(address) or is_zip(address)
    )


def _of_found(
    address: str, kind: str, known: bool, ignored: Ignored, limits: Limits
) -> Iterator[Item]:
    item = addressed(address)
    assert item  # it is one
    if kind == "directory":
        yield from _of_storage_folder(address.rstrip("/"), ignored)
    elif is_tar(address) and not known:
        yield from _of_tar(item, ignored, limits)
    elif is_zip(address) and not known:
        yield from _of_zip(item, ignored)
    else:
        yield replace(item, place=storage.last(item.name))


def _of_storage_folder(root: str, ignored: Ignored) -> Iterator[Item]:
    """The photos below a folder, in the order that those of a folder on the disk have."""
    waiting = [root]
    while waiting:
        here = waiting.pop()
        folders, files = storage.names_in(here)

        def leave(why: str, name: str) -> None:
            ignored.add("archives" if is_tar(name) or is_zip(name) else why)

        for name in photos_among(files, leave):
            item = addressed(f"{here}/{name}")
            assert item
            yield replace(item, place=inside(f"{here}/{name}"[len(root) + 1 :]))
        for name in reversed(folders):
            if name.startswith("."):
                ignored.add("hidden")
            else:
                waiting.append(f"{here}/{name}")


# Archives -----------------------------------------------------------------------------------------


def _of_tar(archive: Item, ignored: Ignored, limits: Limits) -> Iterator[Item]:
    source, last = archive.url or archive.path or "", storage.last(archive.name)
    plain = source.lower().endswith(".tar")
    try:
        file = open_archive(source, 1 << 16 if plain else 1 << 22)
        for tar, member in tar_members(file, compressed=not plain):
            if not _is_photo(member.name, member.isreg() and not member.issparse(), ignored):
                continue
            name = f"{archive.name}/{member.name}"
            item = replace(archive, name=name, place=inside(f"{last}/{member.name}"))
            if plain:
                yield replace(item, span=(member.offset_data, member.size))
            elif member.size > limits.max_bytes:
                yield Item(name, problem=too_large(name, limits))
            else:
                stream = tar.extractfile(member)
                yield Item(name, data=stream.read() if stream else b"", place=item.place)
    except PhotoError:  # it cannot be fetched
        raise
    except Exception as error:  # a damaged tar raises whatever its decompressor raises
        yield Item(archive.name, problem=_broken_archive(archive.name, error))


def _of_zip(archive: Item, ignored: Ignored) -> Iterator[Item]:
    last = storage.last(archive.name)
    try:
        for name in zip_members(archive.url or archive.path or ""):
            if _is_photo(name, True, ignored):
                yield replace(
                    archive, name=f"{archive.name}/{name}", member=name,
                    place=inside(f"{last}/{name}"),
                )  # fmt: skip
    except PhotoError:
        raise
    except Exception as error:  # zipfile raises many kinds on damaged files
        yield Item(archive.name, problem=_broken_archive(archive.name, error))


def _is_photo(name: str, regular: bool, ignored: Ignored) -> bool:
    """Whether a member of an archive is a photo to caption; what is not is counted."""
    if name.endswith("/") or (not regular and "." not in name.rsplit("/", 1)[-1]):
        return False  # a folder
    parts = [part for part in name.split("/") if part not in (".", "..")]
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        ignored.add("hidden")
    elif not regular or Path(name).suffix.lower() not in PHOTO_SUFFIXES:
        ignored.add("not a photo")
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


# Lists --------------------------------------------------------------------------------------------


def read_list(source: str) -> Iterator[str]:
    """The paths of a list: a file, or "-" for standard input; one a line, or separated by NUL.

    Raises:
        DataError: the file cannot be read.
    """
    if source == "-":
        # Not buffered: a thread that waits in a buffer's lock is a fatal error when Python ends.
        yield from _separated(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))
        return
    try:
        with Path(source).open("rb") as stream:
            yield from _separated(stream)
    except OSError as error:
        raise DataError(f"The list {source} cannot be read: {error.strerror}.") from error


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


# Annotation files ---------------------------------------------------------------------------------


def annotated_items(
    annotations: Path,
    folders: Iterable[str | os.PathLike[str]],
    *,
    split: str | None = None,
    ignored: Ignored | None = None,
) -> Iterator[Item]:
    """The photos that an annotation file names, with its ids, looked for in the folders (default:
    the file's own) and one folder below. split: which splits to take; None: all.

    Raises:
        DataError: the file cannot be read or names no photos.
    """
    roots = [Path(f) for f in folders] or [annotations.parent]
    for root in roots:
        if not root.is_dir():
            raise DataError(f"{root} should be the folder of the photos that {annotations} names.")
    images = read_annotations(annotations, split, captions=False).images
    if not images:
        raise DataError(f'{annotations} names no photos: it needs "images", as COCO\'s files have.')
    for image in images:
        if not image.name:
            raise DataError(f'{annotations}: image {image.image_id} needs a "file_name".')
    items = map(_annotated, located(images, roots))
    return _once(items, ignored if ignored is not None else Ignored())


def _annotated(image: AnnotatedImage) -> Item:
    place = inside(image.name)
    if (member := image.member) is None:
        return Item(str(image.file), image_id=image.image_id, path=str(image.file), place=place)
    return Item(
        f"{member.tar}/{member.name}", image_id=image.image_id, path=str(member.tar),
        span=(member.offset, member.size), place=place,
    )  # fmt: skip
