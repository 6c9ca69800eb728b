"""What a run tells: lines on the terminal and in `log.txt`, curves, the model card."""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from captioner.annotations import AnnotatedImage
from captioner.errors import DataError

from .recipe import Recipe


class Reporter:
    """Speaks for the first process; the others have one that is silent (`speaks` False)."""

    def __init__(self, folder: Path, *, speaks: bool = True, tensorboard: bool = False):
        self.folder = folder
        self.speaks = speaks
        self.writer: Any = None
        if speaks and tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise DataError(
                    'TensorBoard is not installed: pip install "captioner[train]"'
                ) from error
            self.writer = SummaryWriter(folder / "tensorboard")

    def say(self, line: str) -> None:
        if self.speaks:
            print(line, flush=True)
            with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def progress(self, meter: "Meter", figure: str, optimizer: torch.optim.Optimizer) -> None:
        """How far the stage is, and its rates; the losses of the meter are told, and forgotten."""
        self.say(meter.line(figure))
        rates = {f"lr-{'encoder' if g['encoder'] else 'decoder'}": g["lr"]
                 for g in optimizer.param_groups}  # fmt: skip
        rate = meter.captions / meter.seconds
        told = {"loss": meter.losses[-1], "captions-per-second": rate, **rates}
        self.figures(meter.stage, meter.done, told)
        meter.losses.clear()

    def figures(self, stage: str, step: int, values: dict[str, float]) -> None:
        """A line of `curves.jsonl`, and curves in TensorBoard under `stage/name`."""
        if self.speaks:
            line = {"stage": stage, "step": step, **values}
            with (self.folder / "curves.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"{stage}/{name}", value, step)

    def pictures(self, stage: str, step: int, files: Sequence[Path]) -> None:
        if self.writer is not None:
            import numpy as np
            from PIL import Image

            for file in files:
                pixels = np.asarray(Image.open(file).convert("RGB"))
                self.writer.add_image(f"{stage}/{file.stem}", pixels, step, dataformats="HWC")

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def clock(seconds: float) -> str:
    """Seconds as 4:05 or 1:04:05."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Meter:
    """The time, the captions and the losses of a stage that is going on."""

    def __init__(self, stage: str, first: int, total: int):
        self.stage = stage
        self.first = first
        self.total = total
        self.done = first
        self.began = time.monotonic()
        self.waited = 0.0
        self.captions = 0.0
        self.losses: list[float] = []

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.waited += time.monotonic() - began

    def add(self, loss: float, captions: float) -> None:
        """Another step."""
        self.done += 1
        self.losses.append(loss)
        self.captions += captions

    def line(self, figure: str) -> str:
        """Where the stage stands, for people."""
        seconds = self.seconds
        left = seconds / (self.done - self.first) * (self.total - self.done)
        return (
            f"{self.stage} {self.done}/{self.total}  {figure}  "
            f"{self.captions / seconds:.0f} captions/s  waiting {self.waited / seconds:.0%}  "
            f"{clock(left)} left"
        )


def write_bad_batch(
    path: Path, stage: str, step: int, examples: Sequence[AnnotatedImage], captions: Sequence[str]
) -> None:
    """The photographs and captions of a batch that went wrong, as JSON."""
    photos = [{"image_id": e.image_id, "file": str(e.file)} for e in examples]
    content = {"stage": stage, "step": step, "photos": photos, "captions": captions}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def model_card(
    recipe: Recipe, log: Sequence[dict[str, Any]], examples: Sequence[AnnotatedImage]
) -> str:
    """The MODEL_CARD.md of a run's model: data, stages, validation, and the whole setting."""
    model, search = recipe.model, recipe.search
    captions = sum(len(e.captions) for e in examples)
    lines = [
        f"# {recipe.name}",
        "",
        f"Trained by `python -m train` on {len(examples):,} photos with {captions:,} captions.",
        f"Encoder {model.encoder} ({model.encoder_library}), decoder of {model.layers} layers, "
        f"width {model.width}.",
        "",
        "## Validation",
        "CIDEr-D and BLEU-4 with PTB tokens, "
        f"beam {search.beams}, length penalty {search.length_penalty:g}, at most "
        f"{recipe.validation.photos} photos of each set.",
        "",
        "| Stage | Epoch | Data | CIDEr-D | BLEU-4 |",
        "|---|---|---|---|---|",
    ]
    for entry in log:
        for data, figures in entry["scores"].items():
            lines.append(
                f"| {entry['stage']} | {entry['epoch']:g} | {data} | {figures['CIDEr-D']:.4f} "
                f"| {figures['BLEU-4']:.4f} |"
            )
    made = {entry["stage"] for entry in log}
    for stage in recipe.stages:
        if stage.name in made and (more := stage.card()):
            lines += ["", f"## Stage {stage.name}", *more]
    lines += ["", "## Recipe", "```json", json.dumps(recipe.to_dict(), indent=1), "```", ""]
    return "\n".join(lines)
