"""What a run tells: lines on the terminal and in `log.txt`, curves, the model card."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
                    'TensorBoard is not installed: pip install "captioner[tensorboard]"'
                ) from error
            self.writer = SummaryWriter(folder / "tensorboard")

    def say(self, line: str) -> None:
        if self.speaks:
            print(line, flush=True)
            with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
                file.write(line + "\n")

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


def model_card(
    recipe: Recipe, log: Sequence[dict[str, Any]], photos: int, captions: int, signature: str
) -> str:
    """The MODEL_CARD.md of a run's model: data, stages, validation, and the whole setting."""
    lines = [
        f"# {recipe.name}",
        "",
        f"Trained by `python -m train` on {photos:,} photos with {captions:,} captions.",
        f"Encoder {recipe.encoder} ({recipe.encoder_library}), decoder of {recipe.layers} layers, "
        f"width {recipe.width}.",
        "",
        "## Validation",
        "CIDEr-D and BLEU-4 with PTB tokens, "
        f"beam {recipe.beams}, length penalty {recipe.length_penalty:g}, at most "
        f"{recipe.val_photos} photos of each set.",
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
    if any(entry["stage"] == "scst" for entry in log):
        lines += ["", "## Self-critical training", f"Signature: `{signature}`", ""]
        lines.append(
            "The end token is part of captions and references; the document frequencies of CIDEr-D "
            "are those of the training references."
        )
    lines += ["", "## Recipe", "```json", json.dumps(recipe.to_dict(), indent=1), "```", ""]
    return "\n".join(lines)
