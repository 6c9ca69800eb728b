"""Safetensors out of a checkpoint's pickles, in a process of its own.

A pickle can run code when it is read. It is read by torch's restricted loader (`weights_only`),
which knows tensors and nothing else, by a process that has no more memory than the weights need and
writes into a folder of ours.

    python -m captioner.hub.convert FROM TO
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from captioner.errors import ModelError

from .locate import TEXTS, WEIGHTS, converted, fetch

PICKLES = ("pytorch_model*.bin",)
ROOM = 6 << 30
"""Bytes of addresses that the process may have besides four times the largest file: torch itself
takes most of them."""


def convert(name: str, revision: str | None = None) -> Path:
    """The folder with safetensors of a hub checkpoint or a folder that has pickles only: the hub's
    in our cache, the folder itself. Raises ModelError."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        target = folder
    else:
        folder = fetch(name, revision, (*WEIGHTS, *PICKLES))
        target = converted(name, folder.name)
    if not any(path for kind in PICKLES for path in folder.glob(kind)):
        raise ModelError(f"{name} has no pickles (pytorch_model.bin) to convert.")
    if any(folder.glob("*.safetensors")):
        raise ModelError(f"{name} has safetensors already.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(folder), made], capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise ModelError(f"The weights of {name} cannot be converted: {last}")
        if target == folder:
            for path in Path(made).iterdir():
                path.replace(target / path.name)
        else:
            for pattern in TEXTS:
                for path in folder.glob(pattern):
                    shutil.copy(path, made)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(made, target)
    return target


def main() -> None:
    """Write safetensors of the pickles in one folder into another."""
    folder, made = map(Path, sys.argv[1:])
    files = sorted(path for kind in PICKLES for path in folder.glob(kind))
    most = 4 * max(path.stat().st_size for path in files) + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for path in files:
        with contextlib.suppress(ValueError):  # nothing but what is written here
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 * path.stat().st_size + (64 << 20),) * 2)
    import torch
    from safetensors.torch import save_file

    where: dict[str, str] = {}
    for path in files:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except MemoryError:
            raise SystemExit(f"{path.name} needs more memory than its size explains.") from None
        except Exception as error:
            first = str(error).strip().splitlines()[0]
            raise SystemExit(f"{path.name} holds more than weights: {first}") from None
        if not isinstance(state, dict) or not all(
            isinstance(t, torch.Tensor) for t in state.values()
        ):
            raise SystemExit(f"{path.name} holds more than weights.")
        name = path.name.replace("pytorch_model", "model").replace(".bin", ".safetensors")
        # Tensors that share their memory are written twice: safetensors knows no sharing.
        tensors = {key: tensor.detach().clone().contiguous() for key, tensor in state.items()}
        save_file(tensors, made / name, {"format": "pt"})
        where |= dict.fromkeys(tensors, name)
    if len(files) > 1:
        index = {"metadata": {}, "weight_map": where}
        (made / "model.safetensors.index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
