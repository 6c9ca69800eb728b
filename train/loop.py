"""The training loop: language model, cross-entropy, self-critical; progress, validation, resume."""

import dataclasses
import gzip
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from captioner.decoder import DecoderConfig
from captioner.encoder import EncoderConfig, fold_batch_norm
from captioner.errors import DataError
from captioner.generation import Hypothesis, Search
from captioner.metrics import CiderD, score
from captioner.model import CaptionModel, ModelConfig
from captioner.tokenizer import BOS, EOS, PAD, CaptionTokenizer, clean_caption

from .checkpoint import load_state, save_state
from .data import Example, swap_sides
from .features import FeatureCache
from .imagenet import imagenet_backbone
from .recipe import Recipe
from .samples import write_samples

STAGES = ("text", "captions", "polish", "scst")
IGNORE = -100


class Trainer:
    """One run in one folder: `run()` trains from where the folder's state stands to the end."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        train: Sequence[Example],
        validation: dict[str, Sequence[Example]],
        text: Sequence[Path] = (),
        cache: Path | None = None,
    ):
        self.recipe = recipe
        self.folder = folder
        self.examples = train
        self.validation = validation
        self.text_files = text
        self.dtype = _train_dtype(recipe.dtype)
        torch.manual_seed(recipe.seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self._tokenizer()
        self.model = self._model()
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        cache = cache or folder / "cache"
        self.cache = FeatureCache(cache, train, recipe.views)
        self.val_caches = {
            n: FeatureCache(cache, examples, 1) for n, examples in validation.items()
        }
        self.rewards: list[float] = []
        self.progress: dict[str, Any] = {"stage": 0, "step": 0, "best": 0.0, "log": []}

    # -- the run ------------------------------------------------------------------------------

    def run(self) -> None:
        for cache in (self.cache, *self.val_caches.values()):
            cache.fill(self.model.encoder, dtype=self.dtype)
        self.model.to(memory_format=torch.channels_last)
        optimizer = None
        if loaded := load_state(self.folder, self.model, lambda s: self._optimizer(STAGES[s])):
            self.average, optimizer, self.progress = loaded
            stage = STAGES[self.progress["stage"]]
            self._say(f"resumed in stage {stage!r} at step {self.progress['step']}")
        for number, stage in enumerate(STAGES):
            if number < self.progress["stage"]:
                continue
            if number > self.progress["stage"] or optimizer is None:
                optimizer = self._optimizer(stage)
                if number > self.progress["stage"]:
                    self.progress |= {"stage": number, "step": 0}
                    # A stage begins from the average of the stage before it.
                    self.model.load_state_dict(self.average)
            self._run_stage(stage, optimizer)
        self.model.load_state_dict(self.average)
        self._say(f"done: the model is {self.folder / 'best'}")

    def _run_stage(self, stage: str, optimizer: torch.optim.Optimizer) -> None:
        total, per_epoch = self._steps(stage)
        if self.progress["step"] >= total:
            return  # nothing to prepare for: the stage is skipped, or was ended before
        batches = self._text_batches() if stage == "text" else None
        reward = self._reward() if stage == "scst" else None
        self.model.train()
        began, seen, losses = time.monotonic(), 0, []
        first = self.progress["step"]
        for step in range(first, total):
            self._set_rates(optimizer, stage, step, total, per_epoch)
            if stage == "text":
                assert batches is not None
                loss, count = self._text_loss(batches[step % len(batches)])
            else:
                indices, view = self._photos(stage, step, per_epoch)
                learning = step >= self._encoder_begins(stage, per_epoch)
                if stage != "scst":
                    loss, count = self._caption_loss(indices, view, step, learning)
                else:
                    loss, count = self._scst_loss(indices, view, step, reward)
            if not torch.isfinite(loss):
                raise DataError(f"The loss is {loss.item()} at step {step} of stage {stage!r}.")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self._average(step)
            losses.append(loss.item())
            seen += count
            if (step + 1) % 20 == 0 or step + 1 == total:
                rate = seen / (time.monotonic() - began)
                left = (time.monotonic() - began) / (step + 1 - first) * (total - step - 1)
                self._say(
                    f"{stage} {step + 1}/{total}  {self._figure(stage, losses[-20:])}  "
                    f"{rate:.0f} captions/s  {_clock(left)} left"
                )
            ended = (step + 1) % per_epoch == 0 or step + 1 == total
            if ended and stage != "text":
                self.progress["step"] = step + 1
                self._validate(stage, (step + 1) / per_epoch)
                self.model.train()
            if ended or (step + 1) % 100 == 0:
                self.progress["step"] = step + 1
                save_state(self.folder, self.model, self.average, optimizer, self.progress)

    def _steps(self, stage: str) -> tuple[int, int]:
        """Steps of a stage, and of one of its epochs."""
        r = self.recipe
        per_epoch = math.ceil(len(self.examples) / r.batch_photos)
        if stage == "text":
            return (r.text_steps if self.text_files else 0), max(1, r.text_steps)
        epochs = {"captions": r.epochs, "polish": r.polish_epochs, "scst": r.scst_epochs}
        return epochs[stage] * per_epoch, per_epoch

    def _encoder_begins(self, stage: str, per_epoch: int) -> float:
        """The step of a stage from which on the encoder's head learns; infinite for never."""
        begins = {"captions": self.recipe.unfreeze_epoch * per_epoch, "polish": 0}
        return begins.get(stage, math.inf)

    # -- losses -------------------------------------------------------------------------------

    def _text_loss(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, int]:
        inputs, targets = _pad(rows, self.recipe.max_tokens)
        with self._autocast():
            hidden = self.model.decoder.hidden(inputs, None)
            loss = self._cross_entropy(hidden, targets)
        return loss, len(rows)

    def _caption_loss(
        self, indices: np.ndarray, view: np.ndarray, step: int, learning: bool
    ) -> tuple[Tensor, int]:
        rows = self._captions(indices, view, step)
        inputs, targets = _pad(rows, self.recipe.max_tokens)
        with self._autocast():
            memory = self.model.memory_of(self._features(indices, view, learning))
            hidden = self.model.decoder.hidden(inputs, memory)
            loss = self._cross_entropy(hidden, targets)
        return loss, sum(bool(r) for r in rows)

    def _cross_entropy(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden (R, T, D), targets (R, T): only the places that count meet the vocabulary."""
        places = targets != IGNORE
        logits = F.linear(hidden[places], self.model.decoder.embed.weight)
        return F.cross_entropy(
            logits.float(), targets[places], label_smoothing=self.recipe.label_smoothing
        )

    def _scst_loss(
        self, indices: np.ndarray, view: np.ndarray, step: int, reward: Any
    ) -> tuple[Tensor, int]:
        """Self-critical sequence training (Rennie et al. 2017), the baseline of a sample being the
        mean reward of the photo's other samples (Luo 2020). The end token is part of the captions
        and the references, so that a missing end costs reward (SacreEOS, Hu et al. 2022)."""
        r = self.recipe
        features = self._features(indices, view, learning=False)
        settings = Search(sample=True, returned=r.scst_samples, max_length=r.max_tokens)
        # A seed for each photo: draws that were alike across the batch would add up their noise.
        seeds = [
            int(s)
            for s in np.random.default_rng((r.seed, 11, step)).integers(2**62, size=len(indices))
        ]
        # No dropout here: the samples must be those of the policy whose gradient is taken.
        self.model.eval()
        with torch.no_grad(), self._autocast():
            drawn = self.model.write(self.model.memory_of(features), settings, seeds=seeds)
        rows = [list(h.ids) for found in drawn for h in found]
        owner = np.repeat(indices, r.scst_samples)
        rewards = torch.tensor(reward(rows, owner), dtype=torch.float32)
        grouped = rewards.view(len(indices), r.scst_samples)
        others = (grouped.sum(1, keepdim=True) - grouped) / (r.scst_samples - 1)
        advantage = (grouped - others).flatten()
        self.rewards.append(float(rewards.mean()))
        inputs, targets = _pad(rows, r.max_tokens)
        with self._autocast():
            memory = self.model.memory_of(features)
            hidden = self.model.decoder.hidden(inputs, memory)
            places = targets != IGNORE
            logits = F.linear(hidden[places], self.model.decoder.embed.weight).float()
        chosen = -F.cross_entropy(logits, targets[places], reduction="none")
        weight = advantage.unsqueeze(1).expand(targets.shape)[places]
        loss = -(weight * chosen).mean()
        if r.scst_xe:
            loss = loss + r.scst_xe * self._caption_loss(indices, view, step, False)[0]
        return loss, len(rows)

    def _reward(self) -> Any:
        """(token rows, photo indices) -> CIDEr-D of each row against its photo's references."""
        say = self.tokenizer.decode
        scorer = CiderD([[clean_caption(c) for c in e.captions] for e in self.examples],
                        end_token="</s>")  # fmt: skip

        def reward(rows: Sequence[Sequence[int]], owner: np.ndarray) -> np.ndarray:
            return scorer.scores([say(row) for row in rows], owner)

        return reward

    def _features(self, indices: np.ndarray, view: np.ndarray, learning: bool) -> Tensor:
        """The encoder's head over the cached trunk: patch features (B, N, C)."""
        parts = torch.empty(0)
        for v in np.unique(view):
            at = np.flatnonzero(view == v)
            part = self.cache.read(int(v), indices[at])
            if not parts.numel():
                shape = (len(indices), *part.shape[1:])
                parts = torch.empty(shape).to(memory_format=torch.channels_last)
            parts[torch.from_numpy(at)] = part.float()
        with torch.set_grad_enabled(learning), torch.autocast("cpu", enabled=False):
            return self.model.encoder.features(parts).features

    # -- batches ------------------------------------------------------------------------------

    def _photos(self, stage: str, step: int, per_epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The photos of a step and which view of each: a function of the seed and the step alone,
        so that a resumed run meets the same ones."""
        r = self.recipe
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((r.seed, STAGES.index(stage), epoch))
        photos = order.permutation(len(self.examples))
        views = order.integers(r.views, size=len(photos))
        part = slice(place * r.batch_photos, (place + 1) * r.batch_photos)
        return photos[part], views[part]

    def _captions(self, indices: np.ndarray, view: np.ndarray, step: int) -> list[list[int]]:
        """`captions_per_photo` token rows for each photo; a photo with fewer has empty rows."""
        count = self.recipe.captions_per_photo
        rows: list[list[int]] = []
        for i, v in zip(indices.tolist(), view.tolist(), strict=True):
            captions = list(self.examples[i].captions)
            if len(captions) > count:
                picked = np.random.default_rng((self.recipe.seed, step, i))
                captions = [captions[k] for k in picked.permutation(len(captions))[:count]]
            if self.cache.flipped(v, i):
                captions = [swap_sides(c) for c in captions]
            mine = [self.tokenizer.encode(c) for c in captions]
            rows += mine + [[]] * (count - len(mine))
        return rows

    def _text_batches(self) -> list[list[list[int]]]:
        """Captions without photos, and those of the photos, in batches of similar length."""
        lines = self._lines()
        rng = np.random.default_rng((self.recipe.seed, 7))
        wanted = min(len(lines), self.recipe.text_steps * self.recipe.text_batch)
        lines = [lines[i] for i in rng.permutation(len(lines))[:wanted]]
        encode = self.tokenizer.tokenizer.encode_batch
        rows = [e.ids for e in encode([clean_caption(c) for c in lines])]
        rows = sorted((r for r in rows if r), key=len)
        size = self.recipe.text_batch
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        return [batches[i] for i in rng.permutation(len(batches))]

    # -- validation ---------------------------------------------------------------------------

    def _validate(self, stage: str, epoch: float) -> None:
        """CIDEr-D of the averaged weights on each validation set; keeps the best model."""
        kept = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        figures = {}
        for name, examples in self.validation.items():
            chosen = examples[: self.recipe.val_photos]
            found = self._write(self.val_caches[name], len(chosen))
            captions = [self.tokenizer.sentence(h.ids) for h in found]
            references = [list(e.captions) for e in chosen]
            result = score(captions, references, metrics=("CIDEr-D", "BLEU-4"), bootstrap=0)
            figures[name] = {m: round(result[m].value, 4) for m in ("CIDEr-D", "BLEU-4")}
            if self.recipe.sample_photos:
                at = self.folder / "samples" / f"{stage}-{epoch:04.1f}-{name}"
                count = self.recipe.sample_photos
                write_samples(at, self.model, chosen[:count], found[:count])
        mean = float(np.mean([f["CIDEr-D"] for f in figures.values()])) if figures else 0.0
        self.progress["log"].append({"stage": stage, "epoch": epoch, **figures})
        text = "  ".join(f"{n}: CIDEr-D {f['CIDEr-D']:.4f}" for n, f in figures.items())
        self._say(f"{stage} epoch {epoch:.1f}  {text}")
        self._save_model(self.folder / "last")
        if mean >= self.progress["best"]:
            self.progress["best"] = mean
            self._save_model(self.folder / "best")
        self.model.load_state_dict(kept)

    @torch.inference_mode()
    def _write(self, cache: FeatureCache, count: int) -> list[Hypothesis]:
        """The best caption of each of the first `count` photos of a cache."""
        best = []
        for start in range(0, count, 64):
            part = cache.read(0, range(start, min(start + 64, count))).float()
            memory = self.model.memory_of(self.model.encoder.features(part).features)
            best += [found[0] for found in self.model.write(memory)]
        return best

    def _save_model(self, folder: Path) -> None:
        about = {"name": self.recipe.name, "validation": self.progress["log"][-1:]}
        self.model.config = dataclasses.replace(self.model.config, about=about)
        self.model.save(folder)

    # -- optimiser ----------------------------------------------------------------------------

    def _optimizer(self, stage: str) -> torch.optim.Optimizer:
        """AdamW; no decay on biases and norms; the encoder's head has its own rate."""
        for parameter in self.model.encoder.trunk_parameters():
            parameter.requires_grad_(False)
        groups: dict[tuple[bool, bool], list[Tensor]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                key = (name.startswith("encoder."), parameter.ndim > 1)
                groups.setdefault(key, []).append(parameter)
        return torch.optim.AdamW(
            [
                {"params": parameters, "encoder": encoder,
                 "weight_decay": self.recipe.weight_decay if decays else 0.0}
                for (encoder, decays), parameters in groups.items()
            ],
            lr=0.0, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip

    def _set_rates(
        self, optimizer: torch.optim.Optimizer, stage: str, step: int, total: int, per_epoch: int
    ) -> None:
        r = self.recipe
        rates = {"text": r.text_lr, "captions": r.lr, "polish": r.polish_lr, "scst": r.scst_lr}
        base = rates[stage]
        warmup = r.warmup if stage in ("text", "captions") else 20
        rise = min(1.0, (step + 1) / max(1, warmup))
        fall = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / max(1, total)))
        for group in optimizer.param_groups:
            rate = base * rise * fall
            if group["encoder"]:
                begin = self._encoder_begins(stage, per_epoch)
                soft = min(1.0, (step + 1 - begin) / max(1, warmup))
                rate = r.encoder_lr * soft * fall if step >= begin else 0.0
            group["lr"] = rate

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(self.recipe.ema, (1 + step) / (10 + step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)

    # -- small things -------------------------------------------------------------------------

    def _autocast(self) -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def _tokenizer(self) -> CaptionTokenizer:
        path = self.folder / "tokenizer.json"
        if not path.exists():
            trained = CaptionTokenizer.train(self._lines(), self.recipe.vocab_size)
            path.write_text(trained.to_json(), encoding="utf-8")
        return CaptionTokenizer.load(path)

    def _lines(self) -> list[str]:
        """All captions there are, with photos and without."""
        lines = [c for e in self.examples for c in e.captions]
        for path in self.text_files:
            lines += read_lines(path)
        return lines

    def _model(self) -> CaptionModel:
        r = self.recipe
        config = ModelConfig(
            encoder=EncoderConfig(name=r.encoder, size=r.size, frozen_stages=r.trunk_stages),
            decoder=DecoderConfig(
                vocab_size=len(self.tokenizer), width=r.width, layers=r.layers, heads=r.heads,
                positions=r.positions, dropout=r.dropout,
            ),
            search=Search(
                beams=r.beams, length_penalty=r.length_penalty, max_length=r.max_length
            ),
            weights=r.weights,
        )  # fmt: skip
        model = CaptionModel(config, self.tokenizer)
        if r.encoder_weights == "none":
            return model
        if r.encoder_weights != "imagenet":
            raise DataError(f"encoder_weights must be imagenet or none, not {r.encoder_weights!r}.")
        backbone = imagenet_backbone(r.encoder)
        fold_batch_norm(backbone)
        weights = {
            k: v for k, v in backbone.state_dict().items() if not k.startswith("classifier.")
        }
        model.encoder.backbone.load_state_dict(weights)  # type: ignore[union-attr]
        return model

    def _figure(self, stage: str, losses: list[float]) -> str:
        """What to watch: the loss, or in scst the mean CIDEr-D of the samples."""
        if stage == "scst":
            figure = f"reward {np.mean(self.rewards):.4f}"
            self.rewards.clear()
            return figure
        return f"loss {np.mean(losses):.4f}"

    def _say(self, line: str) -> None:
        print(line, flush=True)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read_lines(path: Path) -> list[str]:
    """The captions of a text file, one a line; `.gz` is unpacked."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as file
        ):
            return [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The text {path} cannot be read: {error}.") from error


def _pad(rows: Sequence[Sequence[int]], limit: int) -> tuple[Tensor, Tensor]:
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


def _train_dtype(name: str) -> torch.dtype:
    if name == "auto":
        from captioner.machine import has_bfloat16

        return torch.bfloat16 if has_bfloat16() else torch.float32
    try:
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
    except KeyError as error:
        raise DataError(f"dtype must be auto, bfloat16 or float32, not {name!r}.") from error


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
