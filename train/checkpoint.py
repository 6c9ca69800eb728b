"""The state of a training run as safetensors and JSON, written whole or not at all.

Its header has a checksum of all that it holds: bytes that a disk or a copy has changed are noticed.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from captioner.errors import DataError

from .optim import Average
from .processes import Processes

STATE, PREVIOUS = "state.safetensors", "state.previous.safetensors"
CHECKSUM = "sha256"


def save_state(
    folder: Path,
    model: nn.Module,
    average: Average,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
    processes: Processes | None = None,
) -> None:
    """Weights, their moving average, the optimiser's moments, the random states, and how far.

    Every process must call it; the first one writes. Raises DataError when the disk is full or
    cannot be written: the state saved before is then still there.
    """
    processes = processes or Processes()
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average/{k}": v for k, v in average.values.items()}
    for parameter, name in parameter_names(model, optimizer).items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{name}/{key}"] = torch.as_tensor(value)
    for rank, state in enumerate(processes.gather(_random_state())):
        tensors |= {f"random/{rank}/{key}": value for key, value in state.items()}
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    if processes.first:
        _write(folder, tensors, json.dumps(progress))
    processes.wait()


def checksum(tensors: dict[str, Tensor], progress: str) -> str:
    """SHA-256 of the tensors (on the CPU) with their names, dtypes and shapes, and the progress."""
    digest = hashlib.sha256(progress.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the progress of a state. Raises DataError when it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata()
        tensors, progress = load_file(path), json.loads(about["progress"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error})") from error
    # States of earlier versions have no checksum.
    if about.get(CHECKSUM) not in (None, checksum(tensors, about["progress"])):
        raise DataError(f"{path} is damaged (its checksum is another than when it was written)")
    return tensors, progress


def _write(folder: Path, tensors: dict[str, Tensor], progress: str) -> None:
    path, part = folder / STATE, folder / "state.part"
    about = {"progress": progress, CHECKSUM: checksum(tensors, progress)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, about)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            path.replace(folder / PREVIOUS)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        what = "the disk is full" if full else str(error)
        raise DataError(
            f"The state of the run cannot be written to {folder}: {what}. The one saved before is "
            "kept; make room, and the same command continues from it."
        ) from error


def load_state(
    folder: Path,
    model: nn.Module,
    average: Average,
    new_optimizer: Callable[[], torch.optim.Optimizer],
    processes: Processes | None = None,
) -> tuple[torch.optim.Optimizer, dict[str, Any]] | None:
    """The newest whole state, put into model and average: (optimizer, progress), or None.

    `new_optimizer()` makes the optimiser, which the moments are put into. A damaged state is passed
    over for the one before it.
    """
    processes = processes or Processes()
    for name in (STATE, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            tensors, progress = _read(path)
        except DataError as error:
            if processes.first:
                print(f"{error}; looking for the state before it.", flush=True)
            continue
        _put(model.state_dict(), _under(tensors, "model/"), path)
        _put(average.values, _under(tensors, "average/"), path)
        optimizer = new_optimizer()
        moments = _under(tensors, "optimizer/")
        for parameter, parameter_name in parameter_names(model, optimizer).items():
            state = _under(moments, f"{parameter_name}/")
            if state:
                optimizer.state[parameter] = {k: v.to(parameter.device) for k, v in state.items()}
        random = _under(tensors, f"random/{processes.rank}/")
        if random:
            torch.set_rng_state(random["cpu"])
            if "cuda" in random and torch.cuda.is_available():
                torch.cuda.set_rng_state(random["cuda"])
        return optimizer, progress
    if (folder / STATE).exists():
        raise DataError(f"No state in {folder} can be read; start again in an empty folder.")
    return None


@torch.no_grad()
def _put(targets: dict[str, Tensor], values: dict[str, Tensor], path: Path) -> None:
    if {k: v.shape for k, v in targets.items()} != {k: v.shape for k, v in values.items()}:
        raise DataError(f"{path} is the state of another model; start in an empty folder.")
    for name, target in targets.items():
        target.copy_(values[name])


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[Tensor, str]:
    names = {p: n for n, p in model.named_parameters()}
    return {p: names[p] for group in optimizer.param_groups for p in group["params"]}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
