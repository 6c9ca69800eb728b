"""Does a caption name things that are not there, and is that foretold?

CHAIR (Rohrbach et al. 2018): a thing is there when the photo has an instance of its category, or
one of people's captions names it. Per instance: of the things that captions name, those that are
not there. Per sentence: of the captions, those that name such a thing.

What may foretell it, each by the area under its ROC curve (1: always; 0.5: chance): a low
probability of the word, diffuse attention (its entropy), little evidence (what hiding the whole
photo takes from the word's log-probability).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from captioner.caption import Caption
from captioner.captioner import Captioner
from captioner.metrics.bootstrap import interval
from captioner.objects import mentions

DRAWS = 1000


@dataclass(frozen=True)
class Named:
    """A thing that a caption names. signs: what may foretell that it is not there, the higher the
    surer."""

    photo: int
    there: bool
    doubtful: bool
    signs: dict[str, float]


def there(categories: set[str], texts: Iterable[str]) -> set[str]:
    """The categories that a photo has: by its instances, and by what people wrote."""
    return categories.union(*(m.categories for text in texts for m in mentions(text.split())))


def named(captioner: Captioner, photo: int, caption: Caption, present: set[str]) -> Iterator[Named]:
    """The things that a generated caption names."""
    lost: np.ndarray | None = None
    spans = captioner.model.tokenizer.words(caption.ids)
    for mention in mentions([word.text for word in caption.words]):
        words = [caption.words[i] for i in range(mention.start, mention.stop)]
        signs = {"low probability": -float(np.prod([word.probability for word in words]))}
        maps = [word.heatmap for word in words if word.heatmap is not None]
        if maps and caption.maps == captioner.model.maps:
            mean = np.mean(maps, axis=0)
            signs["diffuse attention"] = -float((mean * np.log(mean + 1e-12)).sum())
        if captioner.model.fades:
            lost = _lost(captioner, caption) if lost is None else lost
            tokens = slice(spans[mention.start].start, spans[mention.stop - 1].stop)
            signs["little evidence"] = -float(lost[tokens].sum())
        doubtful = any(word.doubtful for word in words)
        yield Named(photo, bool(present.intersection(mention.categories)), doubtful, signs)


@torch.inference_mode()
def _lost(captioner: Captioner, caption: Caption) -> np.ndarray:
    """What hiding the whole photo takes from each token's log-probability, (T + 1,)."""
    model = captioner.model
    memory = model.see([caption.photo], caption.request)
    hidden = model.faded(memory, torch.zeros(1, model.placement(memory, 0).cells))
    [whole], [blind] = (model.logprobs(m, [caption.ids]) for m in (memory, hidden))
    lost: np.ndarray = (whole - blind).cpu().numpy()
    return lost


def chair(found: Sequence[Named], captions: int) -> dict[str, Any]:
    """CHAIR per instance and per sentence, the signs' areas with intervals over photos, and what
    the mark on doubtful words is worth; {} where nothing is named."""
    if not found:
        return {}
    absent = np.array([not one.there for one in found])
    marked = np.array([one.doubtful for one in found])
    photos = np.array([one.photo for one in found])
    content: dict[str, Any] = {
        "things": len(found),
        "captions": captions,
        "chair_i": round(float(absent.mean()), 4),
        "chair_s": round(len(set(photos[absent])) / captions, 4),
    }
    if absent.all() or not absent.any():
        return content
    areas = {}
    for sign in found[0].signs:
        values = np.array([one.signs[sign] for one in found])
        areas[sign] = {
            "auroc": round(auroc(values, absent), 4),
            "interval": _interval(values, absent, photos),
        }
    content["foretold_by"] = areas
    if marked.any():
        content["doubtful"] = {
            "marked": int(marked.sum()),
            "absent": round(float(absent[marked].mean()), 4),
            "absent_of_the_others": round(float(absent[~marked].mean()), 4),
            "of_all_absent": round(float(marked[absent].mean()), 4),
        }
    return content


def auroc(values: np.ndarray, true: np.ndarray) -> float:
    """The share of pairs, one true and one not, in which the true one has the higher value."""
    high, low = values[true][:, None], values[~true][None]
    return float(((high > low) + 0.5 * (high == low)).mean())


def _interval(values: np.ndarray, true: np.ndarray, photos: np.ndarray) -> list[float]:
    """The 95% interval of `auroc` over photos."""
    random = np.random.default_rng(0)
    rows = [np.flatnonzero(photos == photo) for photo in np.unique(photos)]
    found = []
    for _ in range(DRAWS):
        drawn = np.concatenate([rows[i] for i in random.integers(0, len(rows), len(rows))])
        if true[drawn].any() and not true[drawn].all():
            found.append(auroc(values[drawn], true[drawn]))
    return [round(end, 4) for end in interval(np.array(found))]


def told(content: dict[str, Any]) -> str:
    """The same as text."""
    if not content:
        return "The captions name none of COCO's things."
    lines = [
        f"Of the {content['things']} things that the captions name, {content['chair_i']:.1%} are "
        f"not there (CHAIR per instance); {content['chair_s']:.1%} of the {content['captions']} "
        "captions name such a thing (per sentence)."
    ]
    for sign, area in content.get("foretold_by", {}).items():
        low, high = area["interval"]
        lines.append(f"  foretold by {sign:18} AUROC {area['auroc']:.3f} ({low:.2f}-{high:.2f})")
    if mark := content.get("doubtful"):
        lines.append(
            f"  {mark['marked']} are marked doubtful: {mark['absent']:.0%} of these are not there, "
            f"and {mark['absent_of_the_others']:.0%} of the others."
        )
    return "\n".join(lines)
