"""A name -> the folder with a checkpoint's files: a folder as it is, a hub name downloaded or found
in the cache. Only safetensors weights and plain text are ever fetched."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.errors import ModelError

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "README.md")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of the transformers library on this machine. config: its config.json. revision:
    the hub's, "" for a folder."""

    name: str
    folder: Path
    config: dict[str, Any]
    revision: str = ""

    @property
    def kind(self) -> str:
        """Its model_type."""
        return str(self.config.get("model_type") or "")

    @property
    def weights(self) -> list[Path]:
        """Its safetensors files."""
        return sorted(self.folder.glob("*.safetensors"))

    @property
    def about(self) -> dict[str, Any]:
        about = {"name": self.name, "version": self.revision[:8]}
        card = self.folder / "README.md"
        head = card.read_text(encoding="utf-8", errors="replace")[:4000] if card.is_file() else ""
        if found := re.search(r"^license: *(\S+)", head, re.MULTILINE):
            about["license"] = found[1]
        return about


def is_hub_name(name: str) -> bool:
    """Whether it is written as the hub's names are: owner/model."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not name.startswith(".")


def locate(name: str | Path, revision: str | None = None) -> Checkpoint:
    """The checkpoint of a folder or a hub name.

    Raises ModelError, a sentence, when there is none.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Checkpoint(folder.name if folder.name else str(name), folder, read_config(folder))
    return fetch(str(name), revision)


def fetch(name: str, revision: str | None) -> Checkpoint:
    """Download a hub checkpoint, or find it in the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = snapshot_download(name, revision=revision, allow_patterns=list(PATTERNS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"There is no folder {name}, and the model {name} cannot be had from the Hugging Face "
            f"hub: {first}"
        ) from error
    folder = Path(found)
    return Checkpoint(name, folder, read_config(folder), folder.name)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a folder. Raises ModelError."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}.") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} is not a model's: it is no object.")
    return config
