"""Pictures of what the model writes while it trains: for a few photos the caption, the references
and a heatmap for every word, step by step, so that one sees it learn where to look."""

from collections.abc import Sequence
from pathlib import Path

import torch

from captioner.captioner import finish
from captioner.generation import Hypothesis
from captioner.images import load_photo, to_square
from captioner.model import CaptionModel

from .data import Example


def write_samples(
    folder: Path,
    model: CaptionModel,
    examples: Sequence[Example],
    found: Sequence[Hypothesis],
) -> None:
    """One contact sheet (PNG) for each photo, and `captions.txt` with the references."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for example, hypothesis in zip(examples, found, strict=True):
        photo = load_photo(example.file, min_side=512)
        pixels = torch.from_numpy(to_square(photo, model.config.encoder.size).copy())[None]
        with torch.inference_mode():
            weights = model.look(model.memory(pixels), [hypothesis.ids])[0].numpy()
        caption = finish(model, photo, hypothesis, weights)
        caption.contact_sheet().save(folder / f"{example.file.stem}.png")
        lines.append(f"{example.file.name}\t{caption.text}")
        lines += [f"\treference: {c}" for c in example.captions]
    (folder / "captions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
