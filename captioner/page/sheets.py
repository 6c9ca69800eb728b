"""A folder's results as a zip with a sheet of heatmaps for each photo.

The sheets are drawn when they are asked for, one photo at a time and straight onto the disk, of the
caption as it stands then: a person's own words are read and shown as the model's are.
"""

import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from captioner.batch.items import Item, open_item
from captioner.batch.names import sidecar, with_stems
from captioner.batch.records import Failure, Record
from captioner.batch.writers import sheet_png
from captioner.caption import Caption, blank
from captioner.captioner import DRAWN_SIDE
from captioner.errors import CaptionerError
from captioner.photos import load_photo

from .cache import new_id
from .jobs import Job
from .results import write_results
from .uploads import PHOTO_LIMITS, has_room, renamed, upload_folder


@dataclass(eq=False, kw_only=True)
class SheetsJob(Job):
    """Draws the sheets of a folder's photos.

    records: what became of each photo. done: how many of them are in the zip. path: of the zip,
    once it is whole; who does not know it cannot guess it. It goes as uploads go.
    """

    records: Sequence[Record | Failure]
    done: int = 0
    path: Path | None = None
    _folder: Path | None = None
    _steps: Iterator[None] | None = None

    @property
    def count(self) -> int:
        """How many sheets there will be."""
        return sum("caption" in found for found in self.records)

    def step(self) -> None:
        """Draw the next sheet."""
        if self._steps is None:
            self._steps = self._draw()
        next(self._steps, None)

    def _draw(self) -> Iterator[None]:
        self._folder = upload_folder() / new_id()
        self._folder.mkdir(mode=0o700)
        path, problems = self._folder / "captions.zip", []
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            write_results(file, self.items, self.records)
            # A job that was stopped has fewer records.
            for item, found in zip(with_stems(self.items, Path()), self.records, strict=False):
                if "caption" not in found:
                    continue
                if not has_room():
                    self.end("failed")
                    return
                try:
                    place = sidecar(item, Path("sheets"), ".png")
                    file.writestr(str(place), self._sheet(item, found), zipfile.ZIP_STORED)
                except CaptionerError as error:
                    problems.append(f"{item.name}\t{renamed(error, item)}\n")
                self.done += 1
                yield
            if problems:
                file.writestr("sheets/failed.txt", "".join(problems))
        self.path = path
        self.end("done")

    def _sheet(self, item: Item, found: Record) -> bytes:
        """A PNG. Raises CaptionerError."""
        side = max(self.captioner.size, DRAWN_SIDE)
        photo = load_photo(open_item(item, PHOTO_LIMITS), min_side=side, limits=PHOTO_LIMITS)
        request = self.request.explaining(found["caption"])
        [caption] = self.captioner.explain_photo(photo, [found["caption"]], request)
        if found["blank"] and "edited" not in found:
            caption = blank(caption)
        others = [Caption(one["caption"], 0, [], photo=photo) for one in found["alternatives"]]
        return sheet_png(replace(caption, text=found["caption"], alternatives=others))

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()  # type: ignore[attr-defined]  # a generator
        if self.state != "done":
            self.remove()

    def remove(self) -> None:
        """Delete the zip."""
        self.path = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
