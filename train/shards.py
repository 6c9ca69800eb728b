"""Tar shards written, as `captioner.annotations.shards` reads them."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

OWNER = "captioner"
"""The owner of the files in shards that `write_shards` wrote: so they are known for our own."""


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
            info.size, info.uname = len(data), OWNER
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


def is_our_shard(path: Path) -> bool:
    """Whether a tar is one that `write_shards` wrote."""
    try:
        with path.open("rb") as file:
            return file.read(512)[265:297].rstrip(b"\0") == OWNER.encode()
    except OSError:
        return False
