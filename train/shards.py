"""WebDataset tar shards: a photograph `KEY.jpg` beside its captions `KEY.json` or `KEY.txt`.

A shard is a plain tar, so any tool can make or read one. Here it is indexed once, by its headers
alone, and photographs are then read where they lie: any order, any number of processes, and a run
resumes at the very photo it stopped at.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from captioner.errors import DataError
from captioner.photos import PHOTO_SUFFIXES
from captioner.tars import tar_members


@dataclass(frozen=True)
class Member:
    """Where a file lies in a tar."""

    tar: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        with self.tar.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Sample:
    member: Member
    image_id: int | str
    captions: tuple[str, ...]


def read_shards(path: Path) -> list[Sample]:
    """The samples of a tar, or of all `*.tar` of a folder, in order of names.

    Captions are `KEY.json` with "captions" (a list) or "caption", and perhaps "image_id", or
    `KEY.txt` with one a line. A photograph without either has no captions. Raises DataError for a
    file that is not a whole tar, and a folder without any.
    """
    tars = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    if not tars:
        raise DataError(f"{path} holds no tar shards (*.tar).")
    return [sample for tar in tars for sample in _read_shard(tar)]


def _read_shard(path: Path) -> Iterator[Sample]:
    groups: dict[str, dict[str, Member]] = {}
    try:
        for _, info in tar_members(path):
            if info.isfile():
                key, suffix = _key(info.name)
                member = Member(path, info.name, info.offset_data, info.size)
                groups.setdefault(key, {})[suffix] = member
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"The shard {path} cannot be read as a tar: {error}.") from error
    for key, members in groups.items():
        photo = next((m for s, m in members.items() if s in PHOTO_SUFFIXES), None)
        if photo is not None:
            image_id, captions = _captions(members, key)
            yield Sample(photo, image_id, captions)


def _key(name: str) -> tuple[str, str]:
    """WebDataset's rule: the key ends at the first dot of the last part of the path."""
    path = PurePosixPath(name)
    stem, _, suffix = path.name.partition(".")
    return str(path.parent / stem), f".{suffix.lower()}"


def _captions(members: dict[str, Member], key: str) -> tuple[int | str, tuple[str, ...]]:
    if (member := members.get(".json")) is not None:
        try:
            content = json.loads(member.read())
            captions = content.get("captions", content.get("caption", []))
            captions = [captions] if isinstance(captions, str) else captions
            return content.get("image_id", key), tuple(str(c) for c in captions)
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{member.name} in {member.tar} is not captions: {error}.") from error
    if (member := members.get(".txt")) is not None:
        lines = member.read().decode("utf-8", "replace").splitlines()
        return key, tuple(line.strip() for line in lines if line.strip())
    return key, ()


def write_shards(
    samples: Iterable[tuple[str, bytes, int | str, tuple[str, ...]]],
    folder: Path,
    *,
    per_shard: int = 1000,
) -> int:
    """Write (suffix, photo bytes, image id, captions) as `shard-00000.tar`, ...; returns how many.

    A shard has its name only once it is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shard, count, tar = -1, 0, None
    part = folder / "shard.part"
    for suffix, photo, image_id, captions in samples:
        if tar is None:
            shard += 1
            tar = tarfile.open(part, "w")  # noqa: SIM115
        key = f"{count:09d}"
        text = json.dumps({"image_id": image_id, "captions": captions}, ensure_ascii=False)
        for name, data in ((f"{key}{suffix}", photo), (f"{key}.json", text.encode())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        count += 1
        if count % per_shard == 0:
            tar.close()
            part.replace(folder / f"shard-{shard:05d}.tar")
            tar = None
    if tar is not None:
        tar.close()
        part.replace(folder / f"shard-{shard:05d}.tar")
    return count
