"""The training loop: language model, cross-entropy, self-critical, distillation; progress,
validation, resume.

A step's batch is the same photographs, views and captions whatever the number of processes, loader
workers and parts it is taken in: all of it follows from the seed and the step. So a resumed run
meets the batches that an unbroken one meets, and two processes compute what one computes.
"""

import contextlib
import dataclasses
import functools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.decoder import KeyValue
from captioner.errors import DataError
from captioner.machine import choose_device
from captioner.signals import stopping
from captioner.tokenizer import clean_caption

from .augment import cropped, swap_sides
from .build import all_lines, build_model, captions_of, temper, tokenizer_of
from .checkpoint import load_state, save_state
from .data import Example
from .distil import Teachers, cut_and_mixed
from .features import FeatureCache
from .feed import CachedFeed, Feed, LiveFeed, Part
from .learner import IGNORE, Learner, pad_rows, train_dtype
from .optim import Average, adamw, choose_weights, clip, set_rates
from .processes import Processes, wrap
from .recipe import Recipe
from .report import Reporter, clock, model_card
from .samples import write_samples
from .scst import SelfCritic, draws
from .validation import Validator

STAGES = ("text", "captions", "polish", "scst", "distil")
DRAWN = ("scst", "distil")  # train on captions that the model draws
GROUPS = 4  # of photos with captions of like length


@dataclasses.dataclass
class Piece:
    """A process's part of a step's batch, or one of `accumulate` parts of that."""

    photos: np.ndarray
    views: np.ndarray
    seen: Tensor | None
    rows: list[list[int]]


@dataclasses.dataclass
class Term:
    """One loss of a step: what the learner is given, and the weight of its sum over tokens."""

    kind: str
    seen: Tensor | None
    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    patches: Tensor | None = None
    teacher: Tensor | None = None
    factor: float = 1.0

    @property
    def tokens(self) -> int:
        return int((self.targets != IGNORE).sum())

    @property
    def captions(self) -> int:
        return int((self.targets != IGNORE).any(1).sum())


class Stopped(Exception):
    """The run was asked to stop, and has saved where it stands."""


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
        *,
        processes: Processes | None = None,
        device: torch.device | None = None,
    ):
        self.recipe = recipe
        self.folder = folder
        self.processes = processes or Processes()
        self.device = device or choose_device("cpu")
        self.dtype = train_dtype(recipe.dtype, self.device)
        self.examples = captions_of(train[: recipe.photos or None], recipe.references)
        self.text_files = text
        folder.mkdir(parents=True, exist_ok=True)
        self.report = Reporter(folder, speaks=self.processes.first, tensorboard=recipe.tensorboard)
        torch.manual_seed(recipe.seed)
        self.tokenizer = self.processes.in_turn(
            lambda: tokenizer_of(recipe, folder, self.examples, text)
        )
        self.model = build_model(recipe, self.tokenizer)
        choose_weights(self.model, recipe)
        self.model.to(self.device).to(memory_format=torch.channels_last)
        frozen = self.model.encoder.trunk_parameters()
        done = recipe.features == "cached" and not frozen
        if done and recipe.encoder_blocks:
            raise DataError(
                'features = "cached" keeps what is not trained: set trunk_stages, or '
                'encoder_blocks = 0; or take features = "live".'
            )
        cache = cache or folder / "cache"
        chosen = {
            name: captions_of(examples[: recipe.val_photos], recipe.references)
            for name, examples in validation.items()
        }
        self.caches = {
            "": FeatureCache(cache, self.examples, recipe.views, whole=done),
            **{n: FeatureCache(cache, e, 1, whole=done) for n, e in validation.items()},
        }
        if recipe.features == "cached":
            self.processes.in_turn(self._fill)
        self.feed = self._feed("", self.examples)
        self.epoch = functools.lru_cache(maxsize=2)(self._epoch)
        self.validators = {
            name: Validator(examples, self._feed(name, examples), self.processes)
            for name, examples in chosen.items()
        }
        self.learner = Learner(
            self.model, label_smoothing=recipe.label_smoothing, dtype=self.dtype,
            encoder_done=done,
        )  # fmt: skip
        if recipe.checkpointing:
            self.learner.checkpoint_activations()
        self.average = Average(self.model, recipe.ema)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        # Dropout of the processes must differ; with one process nothing changes.
        if self.processes.world > 1:
            torch.manual_seed(recipe.seed + 1000 * self.processes.rank)
        self.critic: SelfCritic | None = None
        self.teachers: Teachers | None = None
        self.rewards: list[float] = []
        self.reward_seconds = 0.0
        self.asked: Callable[[], bool] = lambda: False
        self.stopping = False
        self.progress: dict[str, Any] = {
            "stage": 0, "step": 0, "best": -1.0, "since_best": 0, "log": [],
        }  # fmt: skip

    # -- the run ------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end. Raises Stopped after SIGINT or SIGTERM, with the state saved."""
        told = "stopping after this step; once more stops at once"
        with stopping(lambda: self.report.say(told)) as self.asked:
            self._run()
        self.report.close()

    def _run(self) -> None:
        optimizer = None
        found = load_state(
            self.folder, self.model, self.average, lambda _: adamw(self.model, self.recipe),
            self.processes,
        )  # fmt: skip
        if found:
            optimizer, self.progress = found
            stage = STAGES[self.progress["stage"]]
            self.report.say(f"resumed in stage {stage!r} at step {self.progress['step']}")
        for number, stage in enumerate(STAGES):
            if number < self.progress["stage"]:
                continue
            if number > self.progress["stage"] or optimizer is None:
                optimizer = adamw(self.model, self.recipe)
                if number > self.progress["stage"]:
                    self.progress |= {"stage": number, "step": 0, "since_best": 0}
                    # A stage begins from the average of the stage before it.
                    self.model.load_state_dict(self.average.values)
                    if stage == "scst" and self._steps(stage)[0]:
                        temper(self.model, self.recipe.scst_temperature)
                        self.average = Average(self.model, self.recipe.ema)
            self._run_stage(stage, optimizer)
        self.model.load_state_dict(self.average.values)
        self.report.say(f"done: the model is {self.folder / 'best'}")

    def _run_stage(self, stage: str, optimizer: torch.optim.Optimizer) -> None:
        total, per_epoch = self._steps(stage)
        first = self.progress["step"]
        if first >= total:
            return  # nothing to prepare for: the stage is skipped, or was ended before
        if stage == "scst":
            slips = self.recipe.scst_slips
            lines = all_lines(self.examples, self.text_files) if slips else []
            self.critic = SelfCritic(self.model, self.recipe, self.examples, lines)
        if stage == "distil":
            self.teachers = Teachers(self.recipe.teachers, self.learner)
        forward = self._forward(stage)
        began, waited, captions, losses = time.monotonic(), 0.0, 0.0, []
        self.reward_seconds = 0.0
        pieces = self._pieces(stage, first, total, per_epoch)
        for step in range(first, total):
            asked = time.monotonic()
            batch = next(pieces)
            waited += time.monotonic() - asked
            begins = self._encoder_begins(stage, per_epoch)
            self._mode(stage, step >= begins)
            self._set_rates(optimizer, stage, step, total, begins)
            loss, count = self._step(forward, optimizer, stage, step, batch)
            self.average.follow(self.model, step)
            losses.append(loss)
            captions += count
            seconds = time.monotonic() - began
            if (step + 1) % self.recipe.say_every == 0 or step + 1 == total:
                left = seconds / (step + 1 - first) * (total - step - 1)
                figure = self._figure(stage, losses[-self.recipe.say_every :], seconds)
                self.report.say(
                    f"{stage} {step + 1}/{total}  {figure}  "
                    f"{captions / seconds:.0f} captions/s  waiting {waited / seconds:.0%}  "
                    f"{clock(left)} left"
                )
                rates = {f"lr-{'encoder' if g['encoder'] else 'decoder'}": g["lr"]
                         for g in optimizer.param_groups}  # fmt: skip
                figures = {"loss": losses[-1], "captions-per-second": captions / seconds, **rates}
                self.report.figures(stage, step + 1, figures)
            self.progress["step"] = step + 1
            ended = (step + 1) % per_epoch == 0 or step + 1 == total
            if ended and stage != "text":
                epoch = (step + 1) / per_epoch
                if round(epoch) % self.recipe.val_every == 0 or step + 1 == total:
                    self._validate(stage, epoch)
                if self._patience_is_over():
                    self.report.say(f"{stage} ends: no better in {self.recipe.patience} epochs")
                    self.progress["step"] = total
            finished = self.progress["step"] >= total
            if ended or finished or self.stopping or (step + 1) % self.recipe.save_every == 0:
                save_state(self.folder, self.model, self.average, optimizer, self.progress,
                           self.processes)  # fmt: skip
            if self.stopping:
                raise Stopped
            if finished:
                break

    def _step(
        self, forward: Any, optimizer: torch.optim.Optimizer, stage: str, step: int,
        batch: list[Piece],
    ) -> tuple[float, float]:  # fmt: skip
        """One update; returns the mean loss of a token and the captions, of all processes."""
        terms = [t for piece in batch for t in self._terms(stage, step, piece)]
        kinds = sorted({t.kind for t in terms})
        tokens = [float(sum(t.tokens for t in terms if t.kind == kind)) for kind in kinds]
        captions = float(sum(t.captions for t in terms))
        *counts, captions, stop = self.processes.sum(
            *tokens, captions, float(self.asked()), device=self.device
        )
        self.stopping = stop > 0
        mean = dict(zip(kinds, counts, strict=True))
        total = 0.0
        for i, term in enumerate(terms):
            with self._sync(forward, i + 1 == len(terms)):
                loss = forward(
                    term.seen, term.inputs, term.targets, term.weights, term.patches, term.teacher
                )
                loss = loss * (term.factor / max(1.0, mean[term.kind]))
                # Processes average their gradients; what is wanted is the sum.
                self.scaler.scale(loss * self.processes.world).backward()
            total += float(loss.detach())
        self.scaler.unscale_(optimizer)
        norm = clip(self.model, self.recipe.clip)
        (total,) = self.processes.sum(total, device=self.device)
        if not math.isfinite(total) or not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise self._not_a_number(stage, step, batch, total)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return total, captions

    def _terms(self, stage: str, step: int, piece: Piece) -> list[Term]:
        patches = self._patches(piece, step)
        if stage == "distil":
            return self._distilled(step, piece, patches)
        if stage != "scst":
            return self._grouped("xe", piece, piece.rows, patches)
        assert self.critic is not None and piece.seen is not None
        pairs = zip(piece.views.tolist(), piece.photos.tolist(), strict=True)
        mirrored = [self.feed.flipped(view, photo) for view, photo in pairs]
        with self._drawing(piece, patches) as memory:
            draw = self.critic.draw(memory, piece.photos, (self.recipe.seed, 11, step), mirrored)
        self.rewards.append(draw.reward)
        self.reward_seconds += draw.seconds
        weights = draw.advantage.to(self.device)
        terms = self._grouped("reward", piece, draw.rows, patches, weights)
        if self.recipe.scst_xe:
            xe = self._grouped("xe", piece, piece.rows, patches)
            terms += [dataclasses.replace(t, factor=self.recipe.scst_xe) for t in xe]
        return terms

    def _distilled(self, step: int, piece: Piece, patches: Tensor | None) -> list[Term]:
        """The student's own draws, and what the teachers would say at each of their places."""
        assert self.teachers is not None and piece.seen is not None
        r = self.recipe
        if piece.seen.dtype != torch.uint8:
            order = np.random.default_rng((r.seed, 19, step, int(piece.photos[0])))
            piece = dataclasses.replace(piece, seen=cut_and_mixed(piece.seen, r.distil_mix, order))
        with self._drawing(piece, patches) as memory:
            rows = draws(
                self.model, memory, piece.photos, (r.seed, 23, step), samples=r.distil_samples,
                longest=r.max_tokens,
            )  # fmt: skip
        terms = self._grouped("distil", piece, rows, patches)
        for term in terms:
            assert term.seen is not None
            term.teacher = self.teachers(term.seen, term.inputs, term.targets)
        return terms

    @contextlib.contextmanager
    def _drawing(self, piece: Piece, patches: Tensor | None) -> Iterator[list[KeyValue]]:
        """What the decoder attends to, to draw captions from."""
        assert piece.seen is not None
        with torch.no_grad(), self.learner.autocast():
            yield self.model.memory_of(self.learner.features(piece.seen), patches)

    def _patches(self, piece: Piece, step: int) -> Tensor | None:
        """The patches (n, kept) of a piece's photos that the decoder sees in this step."""
        share = self.recipe.patch_dropout
        if piece.seen is None or not share:
            return None
        count = math.prod(self.model.grid)
        kept = max(1, round(count * (1 - share)))
        orders = self._orders(13, step, piece.photos)
        chosen = np.stack([order.permutation(count)[:kept] for order in orders])
        return torch.from_numpy(chosen).to(self.device)

    def _orders(self, use: int, step: int, photos: np.ndarray) -> list[np.random.Generator]:
        """Random numbers of each photo's own in a step: `use` tells what they are for."""
        return [np.random.default_rng((self.recipe.seed, use, step, i)) for i in photos]

    def _grouped(
        self, kind: str, piece: Piece, rows: list[list[int]], patches: Tensor | None,
        weights: Tensor | None = None,
    ) -> list[Term]:  # fmt: skip
        """The terms of a piece. On a CPU one for each group of photos with captions of like length:
        there padding costs as much as words. (On a GPU one large batch costs less.)"""
        photos = len(piece.photos)
        groups = self.recipe.batch_photos // (self.processes.world * self.recipe.accumulate)
        groups = min(GROUPS, groups)
        if piece.seen is None or self.device.type != "cpu" or groups < 2:
            return [Term(kind, piece.seen, *self._pad(rows), weights, patches)]
        each = len(rows) // photos  # of a photo
        longest = [max(map(len, rows[i * each : (i + 1) * each])) for i in range(photos)]
        terms = []
        for some in np.array_split(np.argsort(longest, kind="stable"), groups):
            at, lines = torch.from_numpy(some), (some[:, None] * each + np.arange(each)).ravel()
            terms.append(Term(
                kind, piece.seen[at], *self._pad([rows[i] for i in lines]),
                None if weights is None else weights[torch.from_numpy(lines)],
                None if patches is None else patches[at],
            ))  # fmt: skip
        return terms

    def _pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        inputs, targets = pad_rows(rows, self.recipe.max_tokens)
        return inputs.to(self.device), targets.to(self.device)

    # -- stages -------------------------------------------------------------------------------

    def _steps(self, stage: str) -> tuple[int, int]:
        """Steps of a stage, and of one of its epochs. The photos left over at the end of an epoch
        wait for the next one, which has another order."""
        r = self.recipe
        per_epoch = max(1, len(self.examples) // r.batch_photos)
        if stage == "text":
            return (r.text_steps if self.text_files else 0), max(1, r.text_steps)
        epochs = {
            "captions": r.epochs, "polish": r.polish_epochs, "scst": r.scst_epochs,
            "distil": r.distil_epochs,
        }  # fmt: skip
        return epochs[stage] * per_epoch, per_epoch

    def _encoder_begins(self, stage: str, per_epoch: int) -> float:
        """The step of a stage from which on the encoder learns; infinite for never."""
        if not any(p.requires_grad for p in self.model.encoder.parameters()):
            return math.inf
        begins = {"captions": self.recipe.unfreeze_epoch * per_epoch, "polish": 0}
        if self.recipe.scst_encoder_lr:
            begins["scst"] = 0
        if self.recipe.distil_encoder_lr:
            begins["distil"] = 0
        return begins.get(stage, math.inf)

    def _mode(self, stage: str, encoder_learns: bool) -> None:
        # Without dropout: the draws must be those of the policy whose gradient is taken.
        self.model.train(stage not in DRAWN)
        # Its norms keep the statistics they came with. (transformers checkpoints only in training.)
        self.model.encoder.train(self.recipe.checkpointing and encoder_learns)
        self.learner.encoder_learns = encoder_learns
        alone = stage == "scst" and not self.recipe.scst_lr
        for part in (self.model.projection, self.model.decoder):
            part.requires_grad_(not alone)

    def _set_rates(
        self, optimizer: torch.optim.Optimizer, stage: str, step: int, total: int, begins: float
    ) -> None:
        r = self.recipe
        rates = {
            "text": r.text_lr, "captions": r.lr, "polish": r.polish_lr, "scst": r.scst_lr,
            "distil": r.distil_lr,
        }  # fmt: skip
        encoder_rates = {"scst": r.scst_encoder_lr, "distil": r.distil_encoder_lr}
        set_rates(
            optimizer, step, total, rate=rates[stage],
            encoder_rate=encoder_rates.get(stage, r.encoder_lr),
            encoder_begins=begins, warmup=r.warmup if stage in ("text", "captions") else 20,
        )  # fmt: skip

    def _forward(self, stage: str) -> Any:
        forward: Any = self.learner
        if self.processes.world > 1:
            always = stage == "polish" or (stage == "captions" and not self.recipe.unfreeze_epoch)
            forward = wrap(forward, self.device, unused=not always)
        return torch.compile(forward) if self.recipe.compile else forward

    def _sync(self, forward: Any, last: bool) -> Any:
        """Processes exchange gradients after the last part of a step only."""
        alone = self.processes.world == 1
        return contextlib.nullcontext() if last or alone else forward.no_sync()

    # -- batches ------------------------------------------------------------------------------

    def _fill(self) -> None:
        for cache in self.caches.values():
            cache.fill(self.model.encoder, dtype=self.dtype)

    def _feed(self, name: str, examples: Sequence[Example]) -> Feed:
        if self.recipe.features == "cached":
            return CachedFeed(self.caches[name])
        return LiveFeed(
            examples, self.model.config.encoder.size, workers=self.recipe.workers,
            augment=name == "" and self.recipe.views > 1, pin=self.device.type == "cuda",
        )  # fmt: skip

    def _pieces(self, stage: str, first: int, total: int, per_epoch: int) -> Iterator[list[Piece]]:
        """This process's pieces of each step."""
        if stage == "text":
            yield from self._text_pieces(first, total)
            return

        def plan() -> Iterator[Part]:
            for step in range(first, total):
                yield from self._parts(stage, step, per_epoch)

        seen = self.feed.batches(plan())
        for step in range(first, total):
            pieces = []
            for photos, views in self._parts(stage, step, per_epoch):
                rows = self._captions(photos, views, step)
                x = next(seen).to(self.device, non_blocking=True)
                if self.recipe.feature_crop < 1:
                    x = cropped(x, self._orders(17, step, photos), self.recipe.feature_crop)
                pieces.append(Piece(photos, views, x, rows))
            yield pieces

    def _parts(self, stage: str, step: int, per_epoch: int) -> list[Part]:
        """The photos and views of this process in a step: a function of the seed and the step."""
        r, n = self.recipe, self.processes.world * self.recipe.accumulate
        epoch, place = divmod(step, per_epoch)
        photos, views = self.epoch(STAGES.index(stage), epoch)
        at = slice(place * r.batch_photos, (place + 1) * r.batch_photos)
        photos, views = photos[at], views[at]
        if len(photos) < n:
            raise DataError(
                f"A batch of {len(photos)} photos cannot be taken in {n} parts "
                f"({self.processes.world} processes, accumulate {r.accumulate})."
            )
        mine = slice(self.processes.rank * r.accumulate, (self.processes.rank + 1) * r.accumulate)
        parts = zip(np.array_split(photos, n)[mine], np.array_split(views, n)[mine], strict=True)
        return list(parts)

    def _epoch(self, stage: int, epoch: int) -> Part:
        """All photos in the order of an epoch, and the view of each."""
        order = np.random.default_rng((self.recipe.seed, stage, epoch))
        photos = order.permutation(len(self.examples))
        return photos, self.feed.views(order, len(photos), 1000 * stage + epoch)

    def _captions(self, indices: np.ndarray, views: np.ndarray, step: int) -> list[list[int]]:
        """`captions_per_photo` token rows for each photo; a photo with fewer has empty rows."""
        count = self.recipe.captions_per_photo
        rows: list[list[int]] = []
        for i, v in zip(indices.tolist(), views.tolist(), strict=True):
            captions = list(self.examples[i].captions)
            if len(captions) > count:
                picked = np.random.default_rng((self.recipe.seed, step, i))
                captions = [captions[k] for k in picked.permutation(len(captions))[:count]]
            if self.feed.flipped(v, i):
                captions = [swap_sides(c) for c in captions]
            mine = [self.tokenizer.encode(c) for c in captions]
            rows += mine + [[]] * (count - len(mine))
        return rows

    def _text_pieces(self, first: int, total: int) -> Iterator[list[Piece]]:
        """Captions without photos, and those of the photos, in batches of similar length."""
        lines = all_lines(self.examples, self.text_files)
        rng = np.random.default_rng((self.recipe.seed, 7))
        wanted = min(len(lines), self.recipe.text_steps * self.recipe.text_batch)
        lines = [lines[i] for i in rng.permutation(len(lines))[:wanted]]
        encode = self.tokenizer.tokenizer.encode_batch
        rows = [e.ids for e in encode([clean_caption(c) for c in lines])]
        rows = sorted((r for r in rows if r), key=len)
        size = self.recipe.text_batch
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        batches = [batches[i] for i in rng.permutation(len(batches))]
        rank, n = self.processes.rank, self.processes.world * self.recipe.accumulate
        none = np.zeros(0, dtype=int)
        for step in range(first, total):
            batch = batches[step % len(batches)]
            parts = [batch[k::n] or [[]] for k in range(n)]
            mine = parts[rank * self.recipe.accumulate : (rank + 1) * self.recipe.accumulate]
            yield [Piece(none, none, None, part) for part in mine]

    # -- validation ---------------------------------------------------------------------------

    def _validate(self, stage: str, epoch: float) -> None:
        """CIDEr-D of the averaged weights on each validation set; keeps the best model."""
        kept = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.values)
        self.model.eval()
        scores: dict[str, dict[str, float]] = {}
        for name, validator in self.validators.items():
            found = validator.write(self.learner)
            scores[name] = validator.score([self.tokenizer.sentence(h.ids) for h in found])
            if (count := self.recipe.sample_photos) and self.processes.first:
                at = self.folder / "samples" / f"{stage}-{epoch:04.1f}-{name}"
                files = write_samples(at, self.model, validator.examples[:count], found[:count])
                self.report.pictures(f"{stage}-{name}", self.progress["step"], files)
            self.report.figures(stage, self.progress["step"],
                                {f"{name}-{m}": v for m, v in scores[name].items()})  # fmt: skip
        mean = float(np.mean([f["CIDEr-D"] for f in scores.values()])) if scores else 0.0
        self.progress["log"].append({"stage": stage, "epoch": epoch, "scores": scores})
        text = "  ".join(f"{n}: CIDEr-D {f['CIDEr-D']:.4f}" for n, f in scores.items())
        self.report.say(f"{stage} epoch {epoch:.1f}  {text}")
        self._save_model(self.folder / "last")
        if not scores or mean > self.progress["best"]:
            self.progress |= {"best": mean, "since_best": 0}
            self._save_model(self.folder / "best")
        else:
            self.progress["since_best"] += 1
        self.model.load_state_dict(kept)

    def _patience_is_over(self) -> bool:
        patience = self.recipe.patience
        return bool(patience) and self.progress["since_best"] >= patience

    def _save_model(self, folder: Path) -> None:
        if not self.processes.first:
            return
        about = {"name": self.recipe.name, "validation": self.progress["log"][-1:]}
        self.model.config = dataclasses.replace(self.model.config, about=about)
        card = model_card(
            self.recipe, self.progress["log"], len(self.examples),
            sum(len(e.captions) for e in self.examples),
            self.critic.signature() if self.critic else "",
        )  # fmt: skip
        try:
            self.model.save(folder, card=card)
        except OSError as error:
            raise DataError(
                f"The model cannot be written to {folder}: {error.strerror or error}. The state "
                "saved before is kept; make room, and the same command continues from it."
            ) from error

    # -- small things -------------------------------------------------------------------------

    def _not_a_number(self, stage: str, step: int, batch: list[Piece], loss: float) -> DataError:
        """Writes down the batch at which the loss or its gradient is no number any more."""
        path = self.folder / f"bad-batch-{self.processes.rank}.json"
        photos = [
            {"image_id": self.examples[i].image_id, "file": str(self.examples[i].file)}
            for piece in batch
            for i in piece.photos.tolist()
        ]
        captions = [self.tokenizer.decode(r) for piece in batch for r in piece.rows if r]
        content = {"stage": stage, "step": step, "photos": photos, "captions": captions}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return DataError(
            f"The loss is {loss} or its gradient not finite at step {step} of stage {stage!r}: the "
            f"batch is written to {path}. Lower the learning rate or look at these photos; the "
            "state saved last is kept."
        )

    def _figure(self, stage: str, losses: list[float], seconds: float) -> str:
        """What to watch: the loss, or in scst the mean reward of the samples, and which part of
        the time computing it has taken."""
        if stage == "scst" and self.rewards:
            mean = np.mean(self.rewards)
            self.rewards.clear()
            return f"reward {mean:.4f}, {self.reward_seconds / seconds:.1%} of the time"
        return f"loss {np.mean(losses):.4f}"
