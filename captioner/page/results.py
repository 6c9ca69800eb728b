"""The results of a folder as files. What could not be captioned is in each, with its reason."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from captioner.batch.items import Item
from captioner.batch.names import sidecar, with_stems
from captioner.batch.records import FIELDS, Failure, Record
from captioner.batch.writers import write_csv
from captioner.texts import to_line

from .uploads import upload_folder

MORE = ("edited", "model_caption", "error")
"""What only some records have."""
Records = Sequence[Record | Failure]


def with_edits(records: Records, edits: Mapping[int, str]) -> list[Record | Failure]:
    """The records with the captions that a person wrote in place of the model's, which say so: they
    have "edited", the model's own caption beside it, and none of what the model said of its own."""
    changed: list[Record | Failure] = list(records)
    for i, caption in edits.items():
        record: Any = dict(changed[i])
        record |= {"edited": True, "model_caption": record["caption"], "caption": caption}
        changed[i] = record | {"confidence": None, "words": [], "alternatives": []}
    return changed


def as_csv(records: Records) -> bytes:
    """A row a photo; columns "error" and "edited" where there are such."""
    more = [name for name in MORE if any(name in found for found in records)]
    with TemporaryDirectory(dir=upload_folder()) as folder:
        path = Path(folder) / "captions.csv"
        write_csv(records, path, (*FIELDS, *more))
        return path.read_bytes()


def as_jsonl(records: Records) -> bytes:
    """An object a line and a photo: its record, or {"file", "image_id", "error"}."""
    return "".join(to_line(found) + "\n" for found in records).encode()


def as_zip(items: Sequence[Item], records: Records) -> bytes:
    """The tables, what failed, and a text file for each photo, at the photo's place."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        write_results(file, items, records)
    return content.getvalue()


def write_results(file: zipfile.ZipFile, items: Sequence[Item], records: Records) -> None:
    """What `as_zip` gives, into an open zip."""
    file.writestr("captions.csv", as_csv(records))
    file.writestr("captions.jsonl", as_jsonl(records))
    if failed := "".join(f"{r['file']}\t{r['error']}\n" for r in records if "error" in r):
        file.writestr("failed.txt", failed)
    # A job that was stopped has fewer records.
    for item, found in zip(with_stems(items, Path()), records, strict=False):
        if "caption" in found:
            file.writestr(str(sidecar(item, Path())), found["caption"] + "\n")
