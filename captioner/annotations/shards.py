"""WebDataset tar shards: a photo `KEY.jpg` beside its captions `KEY.json` or `KEY.txt`.

A shard is a plain tar, so any tool can make or read one; img2dataset's are such. Here it is indexed
once, by its headers alone, and photos are then read where they lie: any order, any number of
processes, and a run resumes at the very photo it stopped at.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from captioner.errors import DataError
from captioner.photos import PHOTO_SUFFIXES
from captioner.tars import tar_members

from .record import AnnotatedImage, Member, captions_in


def read_shards(path: Path) -> list[AnnotatedImage]:
    """The photos of a tar, or of all `*.tar` of a folder, in order of names.

    Captions are `KEY.json` with "captions" (a list) or "caption", and perhaps "image_id", else
    `KEY.txt` with one a line. A photo without either has no captions. KEY ends at the first dot, as
    WebDataset has it; where that leaves several photos to a key (img.0001.jpg, img.0002.jpg), at
    the last one.

    Raises:
        DataError: for a file that is not a whole tar, and a folder without any.
    """
    tars = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    if not tars:
        raise DataError(f"{path} holds no tar shards (*.tar).")
    return [image for tar in tars for image in _read_shard(tar)]


def _read_shard(path: Path) -> Iterator[AnnotatedImage]:
    groups: dict[str, dict[str, Member]] = {}
    try:
        for _, info in tar_members(path):
            name = PurePosixPath(info.name)
            if info.isfile() and not name.name.startswith("."):
                stem, _, rest = name.name.partition(".")
                rest, dot, suffix = rest.rpartition(".")
                member = Member(path, info.name, info.offset_data, info.size)
                group = groups.setdefault(str(name.parent / stem), {})
                group[f"{dot}{rest}.{suffix.lower()}"] = member
    except FileNotFoundError:
        raise DataError(f"There is no shard {path}.") from None
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"The shard {path} cannot be read as a tar: {error}.") from error
    for members in groups.values():
        for suffix, photo in _photos(members):
            rest = suffix[: suffix.rindex(".")]  # .0001 of img.0001.jpg
            beside = {kind: members.get(f"{rest}.{kind}") for kind in ("json", "txt")}
            yield _annotated(photo, beside["json"], beside["txt"])


def _photos(members: Mapping[str, Member]) -> list[tuple[str, Member]]:
    """(suffix, photo) of a key: the photo with a plain suffix; and of those with further dots in
    their names the ones that have captions of their own, or all, where there is no plain one."""
    photos = [(s, m) for s, m in members.items() if s[s.rindex(".") :] in PHOTO_SUFFIXES]
    plain = [(s, m) for s, m in photos if s.count(".") == 1][:1]
    dotted = [(s, m) for s, m in photos if s.count(".") > 1]
    if plain:
        captioned = {s.removesuffix(".json").removesuffix(".txt") for s in members}
        dotted = [(s, m) for s, m in dotted if s[: s.rindex(".")] in captioned]
    return plain + dotted


def _annotated(photo: Member, json_: Member | None, text: Member | None) -> AnnotatedImage:
    key: int | str = str(PurePosixPath(photo.name).with_suffix(""))
    texts: list[str] = []
    flaws: list[str] = []
    if json_ is not None:
        content = _content(json_)
        where = f"{json_.name} in {json_.tar}"
        if isinstance(content, dict):
            texts, flaws = captions_in(content, where)
            given = content.get("image_id")
            key = given if isinstance(given, int | str) and given != "" else key
        else:
            flaws = [f"{where} is no JSON object with captions"]
    if not texts and text is not None:
        lines = text.read().decode("utf-8-sig", "replace").splitlines()
        texts = [line.strip() for line in lines if line.strip()]
    name = f"{photo.tar.name}/{photo.name}"
    return AnnotatedImage(key, name, tuple(texts), flaws=tuple(flaws), place=photo)


def _content(member: Member) -> object:
    try:
        return json.loads(member.read())
    except (ValueError, RecursionError):
        return None
