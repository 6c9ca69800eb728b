"""Where weights come from: folders and the Hugging Face hub. Only safetensors are read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ModelError


@contextmanager
def sentences(what: str) -> Iterator[None]:
    """Whatever a library raises about a backbone becomes a ModelError that names the backbone."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # the libraries raise nearly every kind, KeyError and assertions too
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"The encoder {what} cannot be used{offline}: {first}") from error


def local_folder(name: str) -> Path | None:
    """The folder that a name means, if it is one. Raises ModelError when it has no safetensors."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return None
    if any(folder.glob("*.safetensors")):
        return folder
    pickles = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth") for path in folder.glob(kind))
    raise ModelError(
        f"The encoder folder {folder} has no .safetensors weights"
        + (
            f"; its {pickles[0]} is a pickle, which can run code and is never loaded. Save the "
            "model again with save_pretrained, on a machine that trusts it."
            if pickles
            else "."
        )
    )


def hub_file(repo: str, file: str) -> Path:
    """A file of a hub repository ("owner/model" or "owner/model@revision"), downloaded or found
    in the cache."""
    from huggingface_hub import hf_hub_download

    repo, _, revision = repo.partition("@")
    with sentences(f"{repo}: its {file}"):
        return Path(hf_hub_download(repo, file, revision=revision or None))
