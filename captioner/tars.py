"""Tar archives read to their end: one that is damaged or cut short raises, wherever that is.

Python's tarfile takes a header that it cannot read, and a file that ends too early, for the end of
the archive. Photos would go missing without a word.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

_OPENERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}


def tar_members(
    source: str | Path | BinaryIO, *, compressed: bool = False
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Every member, in order, with the archive that its bytes can be extracted from until the next
    one is asked for. Memory does not grow with their number.

    Args:
        source: its path, or the file, which is closed at the end.
        compressed: the archive may be packed by gzip, bzip2 or xz; it is then read as a stream.

    Raises:
        tarfile.ReadError: after the last member that can be read, when the archive does not end
            with the mark that ends a tar, or has more behind it; whatever the decompressor raises.
    """
    with contextlib.ExitStack() as closing:
        if isinstance(source, (str, Path)):
            source = Path(source).open("rb")  # noqa: SIM115 (closed at the end)
        stream: Any = closing.enter_context(source)
        if compressed:
            start = source.read(6)
            source.seek(0)
            for opened in (o for magic, o in _OPENERS.items() if start.startswith(magic)):
                stream = closing.enter_context(opened(source))
        mode: Any = "r|" if compressed else "r:"
        tar = closing.enter_context(tarfile.open(fileobj=stream, mode=mode, tarinfo=_Header))
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # else all are kept; there may be a million
            yield tar, member


class _Header(tarfile.TarInfo):
    """A member's header; one that cannot be read is an error and no end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros
            stream: Any = tarfile_.fileobj
            while block := stream.read(1 << 16):
                if block.strip(b"\0"):
                    raise tarfile.ReadError("there is more behind its end") from None
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError("it ends without the mark that ends a tar") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
