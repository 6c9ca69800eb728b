"""Several models that write one caption together.

Each member is a CaptionModel of its own. At every step of the search the log-probabilities that
they give the next token are averaged by the ensemble's shares (a product of experts, Hinton 2002),
and a word's map is the mean over the layers and heads of all of them. Models that were trained from
different beginnings err differently: together they are better than the best of them, at the cost of
running them all.

Members have the same sizes, the same tokenizer and the same trunk, which is held and run once.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .decoder import KeyValue
from .errors import ModelError
from .generation import Step
from .model import CaptionModel, ModelConfig, OwnModel, read_config
from .tokenizer import CaptionTokenizer


class Ensemble(OwnModel):
    """Members by `config.shares`, which sum to 1.

    Features (B, N, M * C) have those of the M members side by side; the memory is the members'
    layers one after another, and so are the maps.
    """

    def __init__(self, config: ModelConfig, tokenizer: CaptionTokenizer):
        super().__init__(config, tokenizer)
        shares = config.shares
        if len(shares) < 2 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise ModelError("The shares of an ensemble are at least two numbers that sum to 1.")
        first = CaptionModel(replace(config, shares=()), tokenizer)
        # A copy shares what is "copied already": the trunk.
        shared = [tokenizer, *first.encoder.trunk_parameters()]
        others = [copy.deepcopy(first, {id(one): one for one in shared}) for _ in shares[1:]]
        self.members = nn.ModuleList([first, *others])
        self.grid = first.grid
        self.width = first.width * len(self.members)
        self.layers = [
            f"Model {number}, {name.lower()}"
            for number, member in enumerate(self.each, start=1)
            for name in member.layers
        ]

    @classmethod
    def of(cls, models: Sequence[CaptionModel], shares: Sequence[float]) -> "Ensemble":
        """An ensemble of trained models; its settings are those of the first.

        Raises ModelError where they do not go together.
        """
        first = models[0]
        for number, model in enumerate(models[1:], start=2):
            if model.tokenizer.to_json() != first.tokenizer.to_json():
                raise ModelError(f"Model {number} has another tokenizer than the first.")
            if _sizes(model) != _sizes(first):
                raise ModelError(f"Model {number} has another encoder or decoder than the first.")
            trunks = (m.encoder.trunk_parameters() for m in (model, first))
            if not all(torch.equal(a, b) for a, b in zip(*trunks, strict=True)):
                raise ModelError(f"Model {number} has another trunk than the first.")
        made = cls(replace(first.config, shares=tuple(shares)), first.tokenizer)
        for member, model in zip(made.each, models, strict=True):
            member.load_state_dict(model.state_dict())
        return made.eval().to(memory_format=torch.channels_last)

    @property
    def each(self) -> list[CaptionModel]:
        return list(self.members)  # type: ignore[arg-type]

    @property
    def first(self) -> CaptionModel:
        return self.each[0]

    def features(self, pixels: Tensor) -> Tensor:
        encoder = self.first.encoder
        seen = encoder.trunk(encoder.normalise(pixels))
        return torch.cat([member.encoder.head(seen) for member in self.each], dim=2)

    def memory_of(self, features: Tensor) -> list[KeyValue]:
        parts = torch.split(features, self.first.width, dim=2)
        return [
            layer
            for member, part in zip(self.each, parts, strict=True)
            for layer in member.memory_of(part)
        ]

    def step(self, memory: list[KeyValue]) -> "AveragedStep":
        steps = [m.step(part) for m, part in zip(self.each, self._parts(memory), strict=True)]
        return AveragedStep(steps, self.config.shares)

    def logits(self, ids: Tensor, memory: list[KeyValue]) -> Tensor:
        parts = zip(self.each, self._parts(memory), strict=True)
        return averaged((m.logits(ids, part) for m, part in parts), self.config.shares)

    def explain(self, ids: Tensor, memory: list[KeyValue]) -> tuple[Tensor, Tensor]:
        parts = zip(self.each, self._parts(memory), strict=True)
        logits, weights = zip(*(m.explain(ids, part) for m, part in parts), strict=True)
        return averaged(logits, self.config.shares), torch.cat(weights, dim=1)

    def _parts(self, memory: list[KeyValue]) -> list[list[KeyValue]]:
        """The memory of each member."""
        count = len(self.first.layers)
        return [memory[i : i + count] for i in range(0, len(memory), count)]


def _sizes(model: CaptionModel) -> list[dict[str, Any]]:
    """What must be alike: all but the dropout, which only training knows."""
    decoder = replace(model.config.decoder, dropout=0.0)
    return [model.config.encoder.to_dict(), decoder.to_dict()]


class AveragedStep:
    """The members' steps as one `generation.Step`."""

    def __init__(self, steps: Sequence[Step], shares: Sequence[float]):
        self.steps = steps
        self.shares = shares

    def __call__(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        return averaged((step(tokens, parents) for step in self.steps), self.shares)


def averaged(logits: Iterable[Tensor], shares: Sequence[float]) -> Tensor:
    """The members' logits (..., V) -> the weighted mean of their log-probabilities, float32.

    That is a log-probability but for a constant, which whoever takes a softmax removes."""
    return sum(  # type: ignore[return-value]
        share * x.float().log_softmax(-1) for x, share in zip(logits, shares, strict=True)
    )


def load_model(folder: Path | str) -> OwnModel:
    """The saved model in `folder`, one or an ensemble; as `OwnModel.load`."""
    kind = Ensemble if read_config(folder).shares else CaptionModel
    return kind.load(folder)
