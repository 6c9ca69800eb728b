"""Pictures of what the model writes while it trains: for a few photos the caption, the references
and a heatmap for every word, step by step, so that one sees it learn where to look."""

from collections.abc import Sequence
from pathlib import Path

import torch

from captioner.annotations import AnnotatedImage
from captioner.attention import Placement, word_maps
from captioner.finish import finish
from captioner.generation import Hypothesis
from captioner.model import CaptionModel
from captioner.photos import load_photo, to_square


def write_previews(
    folder: Path,
    model: CaptionModel,
    examples: Sequence[AnnotatedImage],
    found: Sequence[Hypothesis],
) -> list[Path]:
    """One contact sheet (PNG) for each photo, which are returned, and `captions.txt` with the
    references."""
    folder.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    lines, files = [], []
    for example, hypothesis in zip(examples, found, strict=True):
        photo = load_photo(example.photo, min_side=512)
        pixels = torch.from_numpy(to_square(photo, model.config.encoder.size).copy())[None]
        with torch.inference_mode():
            weights = model.look(model.memory(pixels.to(device)), [hypothesis.ids])[0].numpy()
        grid = Placement.whole(model.grid)
        maps = word_maps(weights, model.tokenizer.words(hypothesis.ids), grid, model.combine)
        caption = finish(model, photo, hypothesis, maps, grid)
        files.append(folder / f"{example.file.stem}.png")
        caption.contact_sheet().save(files[-1])
        lines.append(f"{example.file.name}\t{caption.text}")
        lines += [f"\treference: {c}" for c in example.captions]
    (folder / "captions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files
