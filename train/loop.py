"""The training loop: it steps, saves, resumes and validates, and knows no stage by name."""

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from captioner.errors import DataError
from captioner.signals import stopping

from .batches import Piece
from .checkpoint import load_state, save_state
from .optim import Average, adamw, clip, set_rates
from .previews import write_previews
from .processes import wrap
from .recipe import Recipe
from .report import Meter, Reporter, model_card, write_bad_batch
from .setup import Setup
from .stages import Length, Rates, Stage


class Stopped(KeyboardInterrupt):
    """The run was asked to stop, and has saved where it stands."""


class Trainer:
    """One run in one folder: `run()` trains from where the folder's state stands to the end.

    progress: what is saved beside the weights: the stage by its name, its steps that are done, the
    best score, the validations since it, and the log of all of them.
    """

    def __init__(self, recipe: Recipe, setup: Setup):
        self.recipe = recipe
        self.setup = setup
        self.model = setup.model
        self.folder = setup.folder
        self.processes = setup.processes
        for stage in recipe.stages:
            if stage.length(setup).steps:
                stage.fits(setup)
        self.report = Reporter(
            setup.folder, speaks=setup.processes.first, tensorboard=recipe.run.tensorboard
        )
        self.average = Average(self.model, recipe.optimizer.ema)
        half = setup.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(setup.device.type, enabled=half)
        self.asked: Callable[[], bool] = lambda: False
        self.stopping = False
        self.progress: dict[str, Any] = {
            "stage": recipe.stages[0].name, "step": 0, "best": -1.0, "since_best": 0, "log": [],
        }  # fmt: skip

    # -- the run ------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end. Raises Stopped after SIGINT or SIGTERM, with the state saved."""
        sentence = "stopping after this step; once more stops at once"
        with stopping(lambda: self.report.say(sentence)) as self.asked:
            self._run()
        self.report.close()

    def _run(self) -> None:
        optimizer = None
        found = load_state(self.folder, self.model, self.average, self._optimizer, self.processes)
        if found:
            optimizer, self.progress = found
            at = f"stage {self.progress['stage']!r} at step {self.progress['step']}"
            self.report.say(f"resumed in {at}")
        names = [stage.name for stage in self.recipe.stages]
        if self.progress["stage"] not in names:
            raise DataError(
                f"The run in {self.folder} stands in stage {self.progress['stage']!r}, and the "
                f"recipe has {', '.join(names)}: begin a new run in another folder."
            )
        for number in range(names.index(self.progress["stage"]), len(names)):
            stage = self.recipe.stages[number]
            length = stage.length(self.setup)
            if optimizer is None:
                optimizer = self._begin(stage, length)
            if self.progress["step"] < length.steps:
                self._train(number, stage, length, optimizer)
            optimizer = None
        self.model.load_state_dict(self.average.values)
        self.report.say(f"done: the model is {self.folder / 'best'}")

    def _optimizer(self) -> torch.optim.Optimizer:
        # What a stage before has kept from learning learns again.
        for part in (self.model.projection, self.model.decoder):
            part.requires_grad_(True)
        return adamw(self.model, self.recipe.optimizer.weight_decay)

    def _begin(self, stage: Stage, length: Length) -> torch.optim.Optimizer:
        """A stage begins from the average of the stage before it."""
        self.progress |= {"stage": stage.name, "step": 0, "since_best": 0}
        self.model.load_state_dict(self.average.values)
        if length.steps:
            stage.begin(self.model)
            self.average = Average(self.model, self.recipe.optimizer.ema)
        return self._optimizer()

    def _train(
        self, number: int, stage: Stage, length: Length, optimizer: torch.optim.Optimizer
    ) -> None:
        """The steps of a stage that are still to be made."""
        first, total = self.progress["step"], length.steps
        rates = self._rates(stage, length)
        stage.prepare(self.setup)
        forward = self._forward(rates)
        meter = Meter(stage.name, first, total)
        batches = stage.batches(self.setup, number, first)
        for step in range(first, total):
            with meter.waiting():
                batch = next(batches)
            self._mode(stage, step >= rates.encoder_begins)
            set_rates(optimizer, step, total, **rates._asdict())
            meter.add(*self._step(forward, optimizer, stage, step, batch))
            self.average.follow(self.model, step)
            self.progress["step"] = step + 1
            if (step + 1) % self.recipe.run.report_every == 0 or step + 1 == total:
                figure = stage.figure(meter.losses, meter.seconds)
                self.report.progress(meter, figure, optimizer)
            self._end_of_step(stage, length, optimizer)
            if self.stopping:
                raise Stopped
            if self.progress["step"] >= total:  # also where the stage has ended early
                break

    def _end_of_step(self, stage: Stage, length: Length, optimizer: torch.optim.Optimizer) -> None:
        """Validate after an epoch, end the stage where that is no use any more, and save."""
        done, last = self.progress["step"], self.progress["step"] == length.steps
        ended = done % length.epoch == 0 or last
        if ended and stage.VALIDATED:
            epoch = done / length.epoch
            if round(epoch) % self.recipe.validation.every == 0 or last:
                self._validate(stage.name, epoch)
            patience = self.recipe.validation.patience
            if patience and self.progress["since_best"] >= patience:
                self.report.say(f"{stage.name} ends: no better in {patience} epochs")
                self.progress["step"] = length.steps
        if ended or self.stopping or done % self.recipe.run.save_every == 0:
            save_state(
                self.folder, self.model, self.average, optimizer, self.progress, self.processes
            )

    # -- a step -------------------------------------------------------------------------------

    def _step(
        self, forward: Any, optimizer: torch.optim.Optimizer, stage: Stage, step: int,
        batch: list[Piece],
    ) -> tuple[float, float]:  # fmt: skip
        """One update; returns the mean loss of a token and the captions, of all processes."""
        terms = [t for piece in batch for t in stage.terms(self.setup, step, piece)]
        kinds = sorted({t.kind for t in terms})
        tokens = [float(sum(t.tokens for t in terms if t.kind == kind)) for kind in kinds]
        captions = float(sum(t.captions for t in terms))
        device = self.setup.device
        *counts, captions, stop = self.processes.sum(
            *tokens, captions, float(self.asked()), device=device
        )
        self.stopping = stop > 0
        mean = dict(zip(kinds, counts, strict=True))
        total = 0.0
        for i, term in enumerate(terms):
            # Processes exchange gradients after the last part of a step only.
            alone = self.processes.world == 1 or i + 1 == len(terms)
            with contextlib.nullcontext() if alone else forward.no_sync():
                loss = forward(
                    term.seen,
                    term.inputs,
                    term.targets,
                    term.weights,
                    term.patches,
                    term.teacher,
                    term.named,
                    term.pointing,
                )
                loss = loss * (term.factor / max(1.0, mean[term.kind]))
                # Processes average their gradients; what is wanted is the sum.
                self.scaler.scale(loss * self.processes.world).backward()
            total += float(loss.detach())
        self.scaler.unscale_(optimizer)
        norm = clip(self.model, self.recipe.optimizer.clip)
        (total,) = self.processes.sum(total, device=device)
        if not math.isfinite(total) or not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise self._not_a_number(stage.name, step, batch, total)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return total, captions

    def _rates(self, stage: Stage, length: Length) -> Rates:
        rates = stage.rates(length)
        if not any(p.requires_grad for p in self.model.encoder.parameters()):
            rates = rates._replace(encoder_begins=math.inf)
        if not stage.decoder_learns and rates.encoder_begins == math.inf:
            raise DataError(
                f"The stage {stage.name!r} teaches nothing: its lr is 0, and the encoder stays as "
                "it is."
            )
        return rates

    def _forward(self, rates: Rates) -> Any:
        forward: Any = self.setup.learner
        if self.processes.world > 1:
            everything = rates.lr > 0 and rates.encoder_begins == 0
            forward = wrap(forward, self.setup.device, unused=not everything)
        return torch.compile(forward) if self.recipe.run.compile else forward

    def _mode(self, stage: Stage, encoder_learns: bool) -> None:
        self.model.train(not stage.DRAWS)
        # Its norms keep the statistics they came with. (transformers checkpoints only in training.)
        self.model.encoder.train(self.recipe.run.checkpointing and encoder_learns)
        self.setup.learner.encoder_learns = encoder_learns
        for part in (self.model.projection, self.model.decoder):
            part.requires_grad_(stage.decoder_learns)

    def _not_a_number(self, stage: str, step: int, batch: list[Piece], loss: float) -> DataError:
        """Writes down the batch at which the loss or its gradient is no number any more."""
        path = self.folder / f"bad-batch-{self.processes.rank}.json"
        examples = [self.setup.examples[i] for piece in batch for i in piece.photos.tolist()]
        captions = [self.setup.tokenizer.decode(r) for piece in batch for r in piece.rows if r]
        write_bad_batch(path, stage, step, examples, captions)
        return DataError(
            f"The loss is {loss} or its gradient not finite at step {step} of stage {stage!r}: the "
            f"batch is written to {path}. Lower the learning rate or look at these photos; the "
            "state saved last is kept."
        )

    # -- validation ---------------------------------------------------------------------------

    def _validate(self, stage: str, epoch: float) -> None:
        """CIDEr-D of the averaged weights on each validation set; keeps the best model."""
        kept = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.values)
        self.model.eval()
        scores: dict[str, dict[str, float]] = {}
        for name, validator in self.setup.validators.items():
            found = validator.write(self.setup.learner)
            captions = [self.setup.tokenizer.sentence(h.ids) for h in found]
            scores[name] = validator.score(captions)
            count = self.recipe.validation.previews
            if count and self.processes.first:
                at = self.folder / "previews" / f"{stage}-{epoch:04.1f}-{name}"
                files = write_previews(at, self.model, validator.examples[:count], found[:count])
                self.report.pictures(f"{stage}-{name}", self.progress["step"], files)
            figures = {f"{name}-{metric}": value for metric, value in scores[name].items()}
            self.report.figures(stage, self.progress["step"], figures)
        mean = float(np.mean([f["CIDEr-D"] for f in scores.values()])) if scores else 0.0
        self.progress["log"].append({"stage": stage, "epoch": epoch, "scores": scores})
        text = "  ".join(f"{n}: CIDEr-D {f['CIDEr-D']:.4f}" for n, f in scores.items())
        self.report.say(f"{stage} epoch {epoch:.1f}  {text}")
        self._save_model("last")
        if not scores or mean > self.progress["best"]:
            self.progress |= {"best": mean, "since_best": 0}
            self._save_model("best")
        else:
            self.progress["since_best"] += 1
        self.model.load_state_dict(kept)

    def _save_model(self, name: str) -> None:
        if not self.processes.first:
            return
        folder, log = self.folder / name, self.progress["log"]
        about = {"name": self.recipe.name, "validation": log[-1:]}
        self.model.config = dataclasses.replace(self.model.config, about=about)
        try:
            self.model.save(folder, card=model_card(self.recipe, log, self.setup.examples))
        except OSError as error:
            raise DataError(
                f"The model cannot be written to {folder}: {error.strerror or error}. The state "
                "saved before is kept; make room, and the same command continues from it."
            ) from error
