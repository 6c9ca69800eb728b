"""The optimiser: which weights learn, at which rate, and the moving average of all of them."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from captioner.model import CaptionModel


def choose_weights(model: CaptionModel, blocks: int) -> None:
    """Freeze what is kept as it was: the encoder's trunk, and all but its last blocks (-1: all of
    them learn, 0: none)."""
    encoder = model.encoder
    encoder.requires_grad_(blocks != 0)
    if blocks > 0:
        encoder.requires_grad_(False)
        for block in encoder.blocks()[-blocks:]:
            for parameter in block:
                parameter.requires_grad_(True)
    for parameter in encoder.trunk_parameters():
        parameter.requires_grad_(False)


def adamw(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); no decay on biases and norms; groups that say whether
    they are the encoder's, which has its own rate."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("encoder."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "encoder": encoder,
             "weight_decay": weight_decay if decays else 0.0}
            for (encoder, decays), parameters in groups.items()
        ],
        lr=0.0, betas=(0.9, 0.98), fused=True,
    )  # fmt: skip


def set_rates(
    optimizer: torch.optim.Optimizer,
    step: int,
    total: int,
    *,
    lr: float,
    encoder_lr: float,
    encoder_begins: float,
    warmup: int,
) -> None:
    """Linear warm-up over `warmup` steps, then a cosine down to 5%. The encoder's rate is 0 before
    step `encoder_begins`, and warms up from there."""
    fall = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / max(1, total)))
    for group in optimizer.param_groups:
        base, begins = (encoder_lr, encoder_begins) if group["encoder"] else (lr, 0)
        rise = min(1.0, (step + 1 - begins) / max(1, warmup)) if step >= begins else 0.0
        group["lr"] = base * rise * fall


class Average:
    """The exponential moving average of a model's weights: what is validated and saved."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def follow(self, model: nn.Module, step: int) -> None:
        """Take one step towards the model; the first steps of a stage are longer ones."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.values[name].lerp_(value, 1 - decay)


def clip(model: nn.Module, limit: float) -> float:
    """Scale the gradients so that their norm over all weights is at most `limit`; returns what the
    norm was."""
    parameters: list[Any] = [p for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
    return float(norm)
