"""What a training step computes, as one module: DDP and torch.compile want a forward."""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.decoder import KeyValue
from captioner.model import CaptionModel
from captioner.tokenizer import BOS, EOS, PAD

from .pointing import IGNORE as IGNORE
from .pointing import astray


class Learner(nn.Module):
    """Losses of a CaptionModel, summed over tokens.

    encoder_learns: whether gradients flow into the encoder; the loop says when.
    encoder_done: what the feed gives are the encoder's features already (B, C, h, w), the encoder
        being frozen as a whole.
    """

    def __init__(
        self,
        model: CaptionModel,
        *,
        label_smoothing: float,
        dtype: torch.dtype,
        encoder_done: bool = False,
    ):
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing
        self.dtype = dtype
        self.encoder_done = encoder_done
        self.encoder_learns = False

    def forward(
        self,
        seen: Tensor | None,
        inputs: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        patches: Tensor | None = None,
        teacher: Tensor | None = None,
        named: Tensor | None = None,
        pointing: float = 0.0,
    ) -> Tensor:
        """The loss of B photos and their R = B * K rows, summed over all tokens that count.

        Args:
            seen: what the feed gives of the photos, or of photos that are imagined only what lies
                on each patch (B, K, h, w); None for a text without photographs.
            inputs, targets: (R, T) int64, as `pad_rows` makes them.
            weights: (R,): then the loss is the negative log-probability of each token times its
                row's weight, without label smoothing (the policy gradient of SCST).
            patches: (B, n): the patches that are not hidden from the decoder; None for all.
            teacher: log-probabilities (places that count, V): then the loss is the divergence from
                them.
            named: (R, T) int64, the thing that is named by each token of `targets`, or IGNORE.
            pointing: weight of the loss for words that do not look at what they name.
        """
        places = targets != IGNORE
        beside = torch.zeros(())
        if named is not None and bool((named != IGNORE).any()):
            logits, beside = self._pointed(seen, inputs, places, patches, named)
        else:
            logits = self.logits(seen, inputs, places, patches)
        if teacher is not None:
            return F.kl_div(logits.log_softmax(1), teacher, reduction="sum", log_target=True)
        if weights is None:
            loss = F.cross_entropy(
                logits, targets[places], label_smoothing=self.label_smoothing, reduction="sum"
            )
            return loss + pointing * beside
        surprise = F.cross_entropy(logits, targets[places], reduction="none")
        return (weights.unsqueeze(1).expand(targets.shape)[places] * surprise).sum()

    def logits(
        self, seen: Tensor | None, inputs: Tensor, places: Tensor, patches: Tensor | None = None
    ) -> Tensor:
        """Logits (places, V) float32 of the next token, at the `places` (R, T) that count: only
        they meet the vocabulary."""
        memory = None if seen is None else self.memory(self.features(seen), patches)
        with self.autocast():
            return self._logits(self.model.decoder.hidden(inputs, memory)[places])

    def memory(self, features: Tensor, patches: Tensor | None) -> list[KeyValue]:
        """Features (B, N, C), or of imagined photos (B, N, K) -> their memory."""
        with self.autocast():
            if features.shape[2] < self.model.width:
                return self.model.imagined(features, patches)
            return self.model.memory_of(features, patches)

    def _logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.model.decoder.embed.weight).float()

    def _pointed(
        self, seen: Tensor | None, inputs: Tensor, places: Tensor, patches: Tensor | None,
        named: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """As `logits`, and how far from the things they name the words look: in the layers that
        make the maps (`train.pointing`)."""
        assert seen is not None
        features = self.features(seen)
        memory = self.memory(features, patches)
        combine = self.model.config.combine
        layers = combine.layers or range(len(self.model.layers))
        with self.autocast():
            hidden, weights = self.model.decoder.pointed(inputs, memory, layers)
            logits = self._logits(hidden[places])
        things = features[..., -self.model.encoder.things :]
        return logits, astray(weights.mean((1, 2)), things, named, patches)

    def features(self, seen: Tensor) -> Tensor:
        """Pixels, uint8 (B, S, S, 3), or the trunk's output (B, C, h, w) -> features (B, N, C);
        what lies on imagined photos (B, K, h, w) -> (B, N, K)."""
        encoder = self.model.encoder
        if self.encoder_done or _is_imagined(seen, encoder.things):
            return seen.flatten(2).transpose(1, 2)
        with torch.set_grad_enabled(self.encoder_learns and torch.is_grad_enabled()):
            if seen.dtype == torch.uint8:
                with self.autocast():
                    return encoder.features(encoder.trunk(encoder.normalise(seen))).features
            # The head of a convolutional encoder: on a CPU its gradients are quicker in float32.
            exact = seen.device.type == "cpu" and torch.is_grad_enabled()
            with contextlib.nullcontext() if exact else self.autocast():
                return encoder.features(seen).features

    def checkpoint_activations(self) -> None:
        """Forget activations in the forward pass and compute them again in the backward pass."""
        self.model.decoder.checkpointing = True
        backbone: Any = getattr(self.model.encoder, "backbone", None)
        for method in ("gradient_checkpointing_enable", "set_grad_checkpointing"):
            if hasattr(backbone, method):
                getattr(backbone, method)()
                return

    def autocast(self) -> Any:
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32)


def _is_imagined(seen: Tensor, things: int) -> bool:
    """Whether what a batch has of its photos is only what lies on them (B, things, h, w)."""
    return seen.dtype != torch.uint8 and seen.shape[1] == things


def pad_rows(rows: Sequence[Sequence[int]], limit: int) -> tuple[Tensor, Tensor]:
    """Token rows -> inputs (R, T) that begin with <bos>, and targets (R, T) that end with <eos>.

    A row longer than `limit` tokens is cut, and then has no end. An empty row is all padding and
    counts for nothing. Rows are padded on the right, where causal attention never looks back from,
    so no mask is needed.
    """
    length = min(max((len(r) for r in rows), default=0), limit) + 1
    inputs = torch.full((len(rows), length), PAD)
    targets = torch.full((len(rows), length), IGNORE)
    for i, row in enumerate(rows):
        if row:
            read, wanted = [BOS, *row][:length], [*row, EOS][:length]
            inputs[i, : len(read)] = torch.tensor(read)
            targets[i, : len(wanted)] = torch.tensor(wanted)
    return inputs, targets


def train_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast: "auto" is bfloat16 where the hardware has it; float32 is none."""
    from captioner.errors import DataError
    from captioner.machine import has_bfloat16

    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if device.type == "cpu" and has_bfloat16() else torch.float32
    known = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
    if name not in known:
        raise DataError(f"dtype must be auto, {', '.join(known)}; not {name!r}.")
    if name == "float16" and device.type != "cuda":
        raise DataError("float16 training needs a CUDA GPU; use bfloat16 or float32 here.")
    return known[name]
