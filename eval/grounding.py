"""Do heatmaps point at the thing? Every word that names a thing, against the masks of that thing.

    python -m eval grounding --images val2017 --instances instances_val2017.json \\
        --captions captions_val2017.json --maps attention,evidence --pictures pointing.html

Of the captions that the model writes, and of people's captions, which it reads word by word, every
word counts that names one of COCO's 80 categories which is on the photo ("woman" is a person). Its
map hits where its peak lies on a mask of the category. Beside the maps stand the photo's centre, an
even map, the map of another word of the same caption and the mean map of all its words.

Each figure has its 95% interval over the photos. `deletion` is what the word's probability loses
when the 20% of the patches that its map ranks highest are hidden, by what hiding random ones takes.
At the end stands which of the things that captions name are not there (CHAIR), and what foretells
it.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from captioner.annotations import read_annotations
from captioner.caption import Caption
from captioner.captioner import DRAWN_SIDE, Captioner, load
from captioner.errors import DataError, SettingError
from captioner.exits import Exit, run
from captioner.objects import mentions
from captioner.photos import Photo, load_photo
from captioner.request import HEATMAPS, Request

from .common import add_machine, parser
from .deletion import drops
from .grounding_figures import Figures, figures, table
from .grounding_page import write_page
from .hallucination import Named, chair, named, there, told
from .instances import Instances
from .pointing import Pointing, score_map

TIMED = 16
"""Photos that the cost of the maps is measured on."""
SEED = 0


def main(arguments: list[str] | None = None) -> int:
    made = parser("grounding", __doc__)
    made.add_argument("--model", type=Path, help="default: the model in the box")
    made.add_argument("--images", type=Path, required=True, help="the folder of the photographs")
    made.add_argument("--instances", type=Path, required=True, help="COCO instances: the masks")
    made.add_argument("--captions", type=Path, required=True, help="COCO captions of the same")
    made.add_argument(
        "--maps", default="attention", help="attention, evidence, or both with commas"
    )
    made.add_argument("--human", type=int, help="human captions of each photo; default: all")
    made.add_argument("--bootstrap", type=int, default=1000, help="draws for the intervals")
    made.add_argument("--json", type=Path, help="write the figures to this file")
    made.add_argument("--pictures", type=Path, help="write a page of the best and the worst words")
    add_machine(made, dtype="float32")
    options = made.parse_args(arguments)
    return run(lambda: _grounding(options), stopped="Stopped; nothing is kept.")


def _grounding(options: argparse.Namespace) -> int:
    kinds = options.maps.split(",")
    if not set(kinds) <= set(HEATMAPS):
        raise DataError(f"--maps takes {' and '.join(HEATMAPS)}, with a comma between them.")
    instances = Instances(options.instances)
    people = {i.image_id: i.captions for i in read_annotations(options.captions).images}
    files = _files(options.images, instances)
    captioner = load(
        options.model, device=options.device, dtype=options.dtype, runtime=options.runtime
    )
    for kind in kinds:
        captioner.search(Request(heatmaps=kind))
    generated: list[Pointing] = []
    human: list[Pointing] = []
    things: list[Named] = []
    for number, (photo_id, file) in enumerate(files.items(), 1):
        texts = people.get(photo_id, ())
        written, read = _captions(captioner, file, texts[: options.human], kinds)
        generated += pointings(captioner, photo_id, file, written, instances)
        present = there(instances.categories(photo_id), texts)
        things += named(captioner, photo_id, written[0][kinds[0]], present)
        human += pointings(captioner, photo_id, file, read, instances)
        if number % 10 == 0 or number == len(files):
            print(f"{number} of {len(files)} photos", end="\r", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if not generated and not human:
        raise DataError("No caption names a thing that is on its photo: there is nothing to score.")
    found = figures(generated, kinds, options.bootstrap)
    found_human = figures(human, kinds, options.bootstrap)
    seconds = cost(captioner, list(files.values())[:TIMED], kinds)
    absent = chair(things, len(files))
    _tell(captioner.name, len(files), found, found_human, seconds)
    print(f"\n{told(absent)}")
    if options.json:
        content = {
            **found, "human": found_human, "hallucination": absent, "seconds": seconds,
            "model": captioner.name,
        }  # fmt: skip
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if options.pictures:
        words, shown = (generated, found) if generated else (human, found_human)
        write_page(options.pictures, captioner.name, words, kinds, shown, instances)
    return Exit.DONE


def _files(folder: Path, instances: Instances) -> dict[int, Path]:
    """The photographs that have things and are in the folder."""
    if not folder.is_dir():
        raise DataError(f"--images {folder} is not a folder.")
    found = {i: folder / name for i, name in instances.photos().items()}
    found = {i: file for i, file in found.items() if file.is_file()}
    if not found:
        raise DataError(f"None of the photographs that --instances speaks of is in {folder}.")
    return found


Kinds = dict[str, Caption]
"""A caption by the kind of its heatmaps."""


def _captions(
    captioner: Captioner, file: Path, texts: Sequence[str], kinds: Sequence[str]
) -> tuple[list[Kinds], list[Kinds]]:
    """What the model writes of a photo, and what people wrote, with the kinds of heatmaps."""
    photo = load_photo(file, min_side=max(captioner.size, DRAWN_SIDE))
    first, *others = kinds
    [written] = captioner.caption_photos([photo], Request(heatmaps=first))
    own = {first: written, **{kind: captioner.with_heatmaps(written, kind) for kind in others}}
    readable = [text for text in texts if any(c.isalnum() for c in text)]
    read = {kind: _explained(captioner, photo, readable, kind) for kind in kinds}
    rows = [dict(zip(read, row, strict=True)) for row in zip(*read.values(), strict=True)]
    return [own], rows


def _explained(
    captioner: Captioner, photo: Photo, texts: Sequence[str], kind: str
) -> list[Caption]:
    """The texts with their heatmaps; without the longest where the model cannot read it."""
    left = list(texts)
    while True:
        try:
            return captioner.explain_photo(photo, left, Request(heatmaps=kind))
        except SettingError:
            if not left:
                raise
            left.remove(max(left, key=len))


def pointings(
    captioner: Captioner,
    photo_id: int,
    file: Path,
    captions: Sequence[Kinds],
    instances: Instances,
) -> Iterator[Pointing]:
    """The words of captions of one photo that name a thing on it, scored."""
    random = np.random.default_rng([SEED, photo_id])
    memory = None
    for by_kind in captions:
        caption = next(iter(by_kind.values()))
        for mention in mentions([word.text for word in caption.words]):
            thing = instances.thing(photo_id, mention.categories)
            if thing is None:
                continue
            here = range(mention.start, mention.stop)
            maps = {kind: _mean(one, here) for kind, one in by_kind.items()}
            beside = _beside(by_kind, here, random)
            scores = {
                n: score_map(m, thing.mask, thing.boxes) for n, m in {**maps, **beside}.items()
            }
            spans = captioner.model.tokenizer.words(caption.ids)
            tokens = [t for i in here for t in range(spans[i].start, spans[i].stop)]
            lost: dict[str, float] = {}
            if captioner.model.fades:
                if memory is None:
                    memory = captioner.model.see([caption.photo], caption.request)
                lost = drops(captioner.model, memory, caption.ids, tokens, maps, random)
            yield Pointing(
                photo_id, file, caption.text, " ".join(caption.words[i].text for i in here),
                mention.categories, float(np.prod([caption.words[i].probability for i in here])),
                maps, scores, lost,
            )  # fmt: skip


def _mean(caption: Caption, words: Sequence[int]) -> np.ndarray:
    maps = [m for i in words if (m := caption.words[i].heatmap) is not None]
    if not maps:
        raise DataError("This model gives no heatmaps: there is nothing to score.")
    mean: np.ndarray = np.mean(maps, axis=0)
    return mean


def _beside(
    by_kind: Mapping[str, Caption], here: Sequence[int], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """The maps that know less, by what they are called."""
    middle = (np.arange(11) - 5) / 11
    bell = np.exp(-(middle**2) / (2 * 0.25**2))
    maps = {"centre": np.outer(bell, bell), "uniform": np.ones((2, 2))}
    count = len(next(iter(by_kind.values())).words)
    others = [i for i in range(count) if i not in here] or list(here)
    other = int(random.choice(others))
    for kind, caption in by_kind.items():
        maps[f"{kind} of another word"] = _mean(caption, [other])
        maps[f"{kind} of all words"] = _mean(caption, range(count))
    return maps


def cost(captioner: Captioner, files: Sequence[Path], kinds: Sequence[str]) -> dict[str, float]:
    """Seconds that a photo takes without heatmaps ("captions") and with each kind; of the
    processor where that is what computes, so that other programs do not count."""
    clock = time.process_time if captioner.device.type == "cpu" else time.perf_counter
    requests = {"captions": Request(heatmaps=""), **{k: Request(heatmaps=k) for k in kinds}}
    spent = dict.fromkeys(requests, 0.0)
    for file in files:
        photo = load_photo(file, min_side=max(captioner.size, DRAWN_SIDE))
        for name, request in requests.items():
            began = clock()
            captioner.caption_photos([photo], request)
            spent[name] += clock() - began
    return {name: round(total / len(files), 4) for name, total in spent.items()}


def _tell(
    name: str, photos: int, own: Figures, human: Figures, seconds: Mapping[str, float]
) -> None:
    print(f"{name} on {photos} photos")
    if own:
        print(f"\nWords of the captions that it writes\n{table(own)}")
    if human:
        print(f"\nWords of people's captions\n{table(human)}")
    base, *others = seconds.items()
    shown = ", ".join(f"with {kind} {value / base[1]:.2f} times that" for kind, value in others)
    print(f"\nA photo takes {base[1]:.3f} s without heatmaps; {shown}.")
