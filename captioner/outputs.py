"""What a command may replace: one rule for every file that any command writes.

    guard = Guard([references, results], overwrite=overwrite)
    guard.check(table, "--per-image", begins(b"image_id,"))

- An input of the command is never replaced, with --overwrite or without. Files are compared by
  device and inode: links of both kinds, and names that differ in their case only where the file
  system does not tell them apart, are the same file.
- Another file that is there already is replaced only with --overwrite, or where it is recognisably
  an earlier output of ours (`begins`, `is_text`, `is_sheet`). An empty file holds nothing to lose.
- Folders, pipes and devices are never replaced.

Outputs that are named on the command line are checked before anything is done, those of single
photos before each is written; where there is no such file yet, that costs one `stat`.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL.PngImagePlugin import PngInfo

from .errors import CaptionerError

Identity = tuple[int, int]
"""Device and inode: the same for all the names of one file."""
Ours = Callable[[Path], bool]
"""Whether a file is recognisably an earlier output of ours."""

HEAD = 8192
"""Bytes from the beginning of a file that tell what it is."""
SOFTWARE = "captioner"


class Guard:
    """The inputs of a command, and its outputs, which must not replace them.

    Memory does not grow with the number of photos: a folder's are not held, but asked for (`more`)
    when a file that is not ours stands in the way and --overwrite was given.
    """

    def __init__(
        self,
        inputs: Iterable[str | Path] = (),
        *,
        overwrite: bool = False,
        more: Callable[[], Iterable[str | Path]] | None = None,
    ):
        """
        Args:
            inputs: the files and folders that are named; what does not exist is left out.
            overwrite: --overwrite was given.
            more: gives the files below the inputs that are folders, patterns or lists.
        """
        self.overwrite = overwrite
        self._inputs = {found for path in inputs if (found := identity(path))}
        self._more = more
        self._found: set[Identity] | None = None
        self._named: dict[Path, str] = {}

    def check(self, path: Path, what: str, ours: Ours | None = None) -> None:
        """Whether an output that was named may be written.

        Args:
            path: where it goes.
            what: what writes it, which begins the sentence: "--report".
            ours: recognises an earlier output of this kind.

        Raises CaptionerError when it may not, or another output goes to the same file.
        """
        check_here(path, what)
        other = self._named.setdefault(path.resolve(), what)
        if other != what:
            raise CaptionerError(f"{other} and {what} both name {path}: give each its own file.")
        self.check_each(path, what, ours)

    def check_each(
        self,
        path: Path,
        what: str,
        ours: Ours | None = None,
        *,
        photo: Path | None = None,
        only: Ours | None = None,
    ) -> None:
        """The same for one of many outputs, such as those of single photos, which are not kept in
        mind.

        Args:
            photo: the file that the output is of.
            only: recognises what may be replaced at all, also with --overwrite.
        """
        try:
            found = path.stat()
        except (OSError, ValueError):
            return  # nothing is there; what else is wrong is told when it is written
        if stat.S_ISDIR(found.st_mode):
            raise CaptionerError(f"{what} is to be a file, and {path} is a folder.")
        if not stat.S_ISREG(found.st_mode):
            raise CaptionerError(f"{what} would replace {path}, which is no ordinary file.")
        this = found.st_dev, found.st_ino
        if this in self._inputs or (photo is not None and this == identity(photo)):
            raise CaptionerError(_input(what, path))
        if not found.st_size or (ours is not None and ours(path)):
            return
        if only is not None and not only(path):
            raise CaptionerError(
                f"{what} would replace {path}, which is a file of another kind: move it first."
            )
        if not self.overwrite:
            raise CaptionerError(
                f"{what} would replace {path}, which is there already and was not made by this "
                "job; take another name, or give --overwrite."
            )
        if this in self._below():
            raise CaptionerError(_input(what, path))
        own = path.resolve()
        for other, option in self._named.items():
            if other != own and this == identity(other):
                raise CaptionerError(f"{what} would replace {path}, which is that of {option}.")

    def _below(self) -> set[Identity]:
        """The inputs in folders, patterns and lists, found when first asked for."""
        if self._found is None:
            more = self._more() if self._more else ()
            self._found = {found for path in more if (found := identity(path))}
        return self._found


def check_here(path: Path, what: str) -> None:
    """Raises CaptionerError when a place is an address: s3://bucket/captions.jsonl, of which a path
    keeps one slash only."""
    scheme = re.match(r"([a-z][a-z0-9+.-]+:)/", str(path))
    if scheme and not Path(scheme[1]).is_dir():
        raise CaptionerError(
            f"{what} is to be on this machine's disk, where a kill loses nothing, and "
            f"{str(path).replace(':/', '://', 1)} is an address: name a file here, and copy it "
            "there when the job is done."
        )


def _input(what: str, path: Path) -> str:
    return (
        f"{what} would replace {path}, which is an input of this command. An input is never "
        "replaced, not even with --overwrite: take another name or folder."
    )


def identity(path: str | Path) -> Identity | None:
    """The same for all the names of one file; None where there is none."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


# What is ours -------------------------------------------------------------------------------------


def begins(*starts: bytes) -> Ours:
    """Recognises files by their first bytes, such as the header of a table."""
    return lambda path: _head(path).startswith(starts)


def is_text(path: Path) -> bool:
    """Whether a file is text, as git tells it: no NUL byte near its beginning. No photo is."""
    return b"\0" not in _head(path)


def is_blank(path: Path) -> bool:
    """Whether a file has nothing in it but blanks, or is not there: nobody's words are lost."""
    try:
        with path.open("rb") as stream:
            return not stream.read(HEAD).strip()
    except OSError:
        return True


def is_sheet(path: Path) -> bool:
    """Whether a file is a contact sheet that a job wrote: a PNG with our name as its software."""
    head = _head(path)
    return head.startswith(b"\x89PNG\r\n") and f"tEXtSoftware\0{SOFTWARE}".encode() in head


def sheet_mark() -> PngInfo:
    """What `is_sheet` looks for: for `Image.save(..., pnginfo=sheet_mark())`."""
    mark = PngInfo()
    mark.add_text("Software", SOFTWARE)
    return mark


def _head(path: Path) -> bytes:
    """The first bytes of a file; NULs, which nobody takes for their own, where it is unreadable."""
    try:
        with path.open("rb") as stream:
            return stream.read(HEAD)
    except OSError:
        return b"\0"
