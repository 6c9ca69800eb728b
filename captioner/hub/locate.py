"""A name -> the folder with a checkpoint's files: a folder as it is, a hub name downloaded or found
in the cache. Only safetensors weights and plain text are ever fetched."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.errors import ModelError

PATIENCE = 2.5
"""Seconds that the hub may take to say what it knows of a name."""
TEXTS = ("*.json", "*.txt", "*.model", "*.jinja", "README.md")
WEIGHTS = ("*.safetensors",)


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
    def source(self) -> str:
        """What it is loaded by: its hub name, or its folder."""
        return self.name if self.revision else str(self.folder)

    @property
    def weights(self) -> list[Path]:
        """Its safetensors files."""
        return sorted(self.folder.glob("*.safetensors"))

    @property
    def about(self) -> dict[str, Any]:
        about = {"name": self.name, "version": self.revision[:8]}
        if found := re.search(r"^license: *(\S+)", self._readme[:4000], re.MULTILINE):
            about["license"] = found[1]
        return about

    @property
    def card(self) -> str:
        """The checkpoint's own card, Markdown, with its licence first."""
        body = re.sub(r"(?s)\A---\n.*?\n---\n", "", self._readme).strip()
        licence = self.about.get("license", "not stated")
        return f"**Licence of {self.name}: {licence}**\n\n{body or 'This model has no card.'}"

    @property
    def _readme(self) -> str:
        card = self.folder / "README.md"
        return card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""


Look = Callable[[Checkpoint, int | None], None]
"""Shown a checkpoint of the hub before its weights are fetched, and how many numbers these are;
None where they are here already, or that cannot be told. May raise ModelError."""


def is_hub(name: str | Path) -> bool:
    """Whether a model is one of the transformers library: a folder whose config.json names its
    model_type, or a name that is no folder and is written owner/model."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return isinstance(name, str) and is_hub_name(name)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return "model_type" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return False


def is_hub_name(name: str) -> bool:
    """Whether it is written as the hub's names are: owner/model."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not name.startswith(".")


def locate(
    name: str | Path,
    revision: str | None = None,
    look: Look = lambda *_: None,
    weights: tuple[str, ...] = WEIGHTS,
) -> Checkpoint:
    """The checkpoint of a folder or a hub name; without `weights` of a hub's only what it says of
    itself.

    Raises ModelError, a sentence, when there is none.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision:
            raise ModelError(f"{name} is a folder: it has no `revision`.")
        return Checkpoint(folder.name if folder.name else str(name), folder, read_config(folder))
    found = fetch(str(name), revision, weights, look)
    safe = converted(str(name), found.name)
    folder = safe if safe.is_dir() and not any(found.glob("*.safetensors")) else found
    return Checkpoint(str(name), folder, read_config(folder), found.name)


def fetch(
    name: str,
    revision: str | None = None,
    weights: tuple[str, ...] = WEIGHTS,
    look: Look = lambda *_: None,
) -> Path:
    """The folder of a hub checkpoint: downloaded, or found in the cache when the hub cannot be
    reached, or is not to be (HF_HUB_OFFLINE). Its name is the commit. Raises ModelError, and what
    `look` raises."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub import errors as hub

    try:  # quickly: the download itself is patient
        HfApi().model_info(name, revision=revision, timeout=PATIENCE)
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(TEXTS)))
        if not weights:
            return folder
        commit = folder.name
        look(Checkpoint(name, folder, read_config(folder), commit), _to_come(name, folder))
        return Path(snapshot_download(name, revision=commit, allow_patterns=list(weights)))
    except ModelError:
        raise
    except hub.GatedRepoError:
        problem = f"{name} is only for those who accept its licence on the hub and give HF_TOKEN"
    except hub.RevisionNotFoundError:
        problem = f"{name} has no revision {revision}"
    except hub.RepositoryNotFoundError:
        problem = f"The hub has no model {name}, or none that HF_TOKEN may read"
    except hub.HFValidationError:
        problem = f"{name!r} is no name of the hub"
    except Exception as error:  # of the network, of several libraries
        return _kept(name, revision, weights, error)
    raise ModelError(f"There is no folder {name}. {problem}.")


def _to_come(name: str, folder: Path) -> int | None:
    """How many numbers the weights have that are yet to be fetched into a folder, by the headers of
    their files; None where some are there, or the hub does not say."""
    from huggingface_hub import HfApi

    if any(folder.glob("*.safetensors")):
        return None
    with contextlib.suppress(Exception):  # what is too large is then refused after the download
        headers = HfApi().get_safetensors_metadata(name, revision=folder.name, timeout=PATIENCE)
        return sum(headers.parameter_count.values())
    return None


def _kept(name: str, revision: str | None, weights: tuple[str, ...], error: Exception) -> Path:
    """What the cache has of a checkpoint, after the hub could not be asked."""
    from huggingface_hub import snapshot_download

    with contextlib.suppress(Exception):  # it is not there
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
        if not weights or is_whole(name, folder, weights):
            return folder
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
    raise ModelError(
        f"There is no folder {name}, it is not in the hub's cache on this machine, and the hub "
        f"cannot be asked: {first}."
    ) from error


def is_whole(name: str, folder: Path, weights: tuple[str, ...] = WEIGHTS) -> bool:
    """Whether weights are in a folder of the hub's cache, or were made of its pickles: the texts of
    a checkpoint come before them."""
    here = any(path for pattern in weights for path in folder.glob(pattern))
    return here or converted(name, folder.name).is_dir()


def converted(name: str, commit: str) -> Path:
    """Where the safetensors of a hub checkpoint are that `captioner models --convert` has made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "captioner" / name.replace("/", "--") / commit


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
