"""Pictures of what the model writes while it trains: for a few photos the caption, the references
and a heatmap for every word, step by step, so that one sees it learn where to look."""

from collections.abc import Sequence
from pathlib import Path

import torch

from captioner.attention import word_maps
from captioner.images import load_photo, to_square
from captioner.model import CaptionModel
from captioner.render import contact_sheet

from .data import Example


def write_samples(
    folder: Path,
    model: CaptionModel,
    examples: Sequence[Example],
    captions: Sequence[Sequence[int]],
) -> None:
    """One contact sheet (PNG) for each photo, and `captions.txt` with the references."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for example, ids in zip(examples, captions, strict=True):
        photo = load_photo(example.file, min_side=512)
        pixels = torch.from_numpy(to_square(photo, model.config.encoder.size).copy())[None]
        with torch.inference_mode():
            weights = model.look(model.memory(pixels), [ids])[0].numpy()
        words = model.tokenizer.words(ids)
        maps = word_maps(weights, words, model.grid, model.config.combine)
        title = model.tokenizer.sentence(ids)
        sheet = contact_sheet(
            photo.image, [(w.text, 1.0, m) for w, m in zip(words, maps, strict=True)], title=title
        )
        sheet.save(folder / f"{example.file.stem}.png")
        lines += [f"{example.file.name}\t{title}", *(f"\treference: {c}" for c in example.captions)]
    (folder / "captions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
