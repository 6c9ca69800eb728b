"""The state of a training run as safetensors and JSON, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from captioner.errors import DataError


def save_state(
    folder: Path,
    model: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
) -> None:
    """Weights, their moving average, the optimiser's moments, the random state, and how far."""
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average/{k}": v for k, v in average.items()}
    names = parameter_names(model, optimizer)
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"optimizer/{names[parameter]}/{key}"] = torch.as_tensor(value)
    tensors["random"] = torch.get_rng_state()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "state.safetensors"
    part = folder / "state.part"
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, part,
              {"progress": json.dumps(progress)})  # fmt: skip
    if path.exists():
        path.replace(folder / "state.previous.safetensors")
    part.replace(path)


def load_state(
    folder: Path,
    model: nn.Module,
    optimizer_of: Any,
) -> tuple[dict[str, Tensor], torch.optim.Optimizer, dict[str, Any]] | None:
    """The newest whole state, put into the model: (average, optimizer, progress), or None.

    `optimizer_of(stage)` makes the stage's optimiser, which the moments are put into. A damaged
    state is passed over for the one before it.
    """
    from safetensors import safe_open

    for name in ("state.safetensors", "state.previous.safetensors"):
        path = folder / name
        if not path.exists():
            continue
        try:
            with safe_open(path, "pt") as file:
                progress = json.loads(file.metadata()["progress"])
            tensors = load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            print(f"{path} is damaged; looking for the state before it.", flush=True)
            continue
        model.load_state_dict(_under(tensors, "model/"))
        optimizer = optimizer_of(progress["stage"])
        names = parameter_names(model, optimizer)
        moments = _under(tensors, "optimizer/")
        for parameter, parameter_name in names.items():
            state = _under(moments, f"{parameter_name}/")
            if state:
                optimizer.state[parameter] = state
        torch.set_rng_state(tensors["random"])
        return _under(tensors, "average/"), optimizer, progress
    if (folder / "state.safetensors").exists():
        raise DataError(f"No state in {folder} can be read; start again in an empty folder.")
    return None


def parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[Tensor, str]:
    names = {p: n for n, p in model.named_parameters()}
    return {p: names[p] for group in optimizer.param_groups for p in group["params"]}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
