"""Full cross-attention beside what attends to less of a photo: time, captions and maps.

    python -m eval cost sparse                             # time, at 100 to 1,369 patches
    python -m eval cost sparse --photos 1 --beams 5 --json
    python -m eval cost sparse --images DIR --annotations captions_val.json --instances FILE
    python -m eval cost sparse --quick                     # one small size, one round

Time is that of a vision transformer (ViT-B/16, random weights) and a decoder over it, of the
sizes of the model in the box and of BLIP-base: one step of the decoder for all beams, and end to
end from pixels to a caption of T tokens. A class token goes along at 577, as there. All ways take
turns, round after round; medians, and the medians of the rounds' ratios. One thread, CPU time.

With --images and --annotations, captions of the model in the box are scored, and with --instances
how often the peak of a word's map lies on the thing that it names, in the captions that the model
writes with full attention. This model's encoder has no transformer: there the patches are merged
behind it. No time is measured then.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from captioner.annotations import AnnotatedImage, read_annotations
from captioner.annotations.locate import located
from captioner.captioner import Captioner, load
from captioner.decoder import DecoderConfig, KeyValue, TextDecoder
from captioner.errors import DataError, SettingError
from captioner.exits import run
from captioner.machine import describe
from captioner.metrics import cider_d
from captioner.model import CaptionModel
from captioner.photos import load_photo, to_square
from captioner.request import Request

from . import sparse_attention as ways
from .common import add_json, parser, print_json
from .grounding import pointings
from .instances import Instances
from .turns import in_turns, using

FULL, STRONGEST, POOLED, MERGED = WAYS = ("full", "strongest keys", "pooled 2x2", "merged")
DECODERS = {
    "the model in the box": DecoderConfig(),
    "BLIP-base": DecoderConfig(vocab_size=30524, width=768, layers=12, heads=12),
}
PATCHES = (100, 361, 577, 1369)
TOKENS = 20
BATCH = 16


def main(arguments: list[str]) -> int:
    made = parser("cost sparse", __doc__)
    made.add_argument("--photos", type=int, help="of a batch (8), or of the set (all)")
    made.add_argument("--beams", type=int, default=3)
    made.add_argument("--keys", type=int, default=32, help="of each head that are kept")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--quick", action="store_true", help="one small size, one round")
    made.add_argument("--images", type=Path, help="the folder of a set's photographs")
    made.add_argument("--annotations", type=Path, help="their captions")
    made.add_argument("--instances", type=Path, help="COCO instances of the same: the masks")
    add_json(made)
    options = made.parse_args(arguments)
    return run(lambda: _sparse(options))


def _sparse(options: argparse.Namespace) -> None:
    if bool(options.images) != bool(options.annotations):
        raise SettingError("--images and --annotations go together.")
    if options.instances and not options.images:
        raise SettingError("--instances goes with --images.")
    if min(options.photos or 1, options.beams, options.keys, options.rounds) < 1:
        raise SettingError("--photos, --beams, --keys and --rounds must be at least 1.")
    if options.images:
        quality = measure_quality(options)
        print_json(quality) if options.json else print(quality_table(quality))
        return
    with using(1):
        found = measure_time(options)
    print_json(found) if options.json else print(time_table(found))


# Time ---------------------------------------------------------------------------------------------


def measure_time(options: argparse.Namespace) -> dict[str, Any]:
    """Of each decoder and number of patches, and of each way: ms a step and seconds end to end, and
    both as parts of those of full attention."""
    photos = options.photos or 8
    rows = []
    for patches in (49,) if options.quick else PATCHES:
        encoded, images = _encoder(patches, photos)
        for name, config in list(DECODERS.items())[: 1 if options.quick else None]:
            calls: dict[tuple[str, str], Any] = {}
            for way in WAYS:
                decoder, memory_of, ids = _arm(way, config, patches, photos, options)
                memory = memory_of()
                calls["step", way] = lambda d=decoder, m=memory, i=ids: _write(d, m, i)
                calls["memory", way] = memory_of
            calls["encoder", FULL] = lambda e=encoded, i=images: e.forward_features(i)
            calls["encoder", MERGED] = lambda e=encoded, i=images, n=patches: ways.encode_merged(
                e, i, _quarter(n)
            )
            with torch.inference_mode():
                spent = in_turns(calls, 1 if options.quick else options.rounds)
            rows.append({"patches": patches, "decoder": name, "ways": _compared(spent)})
    return {"photos": photos, "beams": options.beams, "keys": options.keys, "tokens": TOKENS,
            "machine": describe(), "rows": rows}  # fmt: skip


def _compared(spent: dict[tuple[str, str], list[float]]) -> dict[str, dict[str, float]]:
    found = {}
    base: dict[str, list[float]] = {}
    for way in WAYS:
        encoder = spent["encoder", MERGED if way == MERGED else FULL]
        parts = zip(encoder, spent["memory", way], spent["step", way], strict=True)
        seconds = {
            "step": [one / TOKENS for one in spent["step", way]],
            "whole": [sum(part) for part in parts],
        }
        base = base or seconds
        found[way] = {
            **{name: median(values) for name, values in seconds.items()},
            **{f"{name}_ratio": median(a / b for a, b in zip(values, base[name], strict=True))
               for name, values in seconds.items()},
        }  # fmt: skip
    return found


def _first(patches: int) -> int:
    """Whether a class token is one of them."""
    return patches - math.isqrt(patches) ** 2


def _quarter(patches: int) -> int:
    """The tokens that are left of so many, pooled or merged: a class token stays."""
    return _first(patches) + math.ceil(math.isqrt(patches) / 2) ** 2


def _encoder(patches: int, photos: int) -> tuple[Any, Tensor]:
    """A ViT-B/16 with random weights that gives so many patches, and its pixels."""
    from timm.models.vision_transformer import VisionTransformer

    side = 16 * math.isqrt(patches)
    torch.manual_seed(0)
    made = VisionTransformer(
        img_size=side, num_classes=0, class_token=_first(patches) > 0, global_pool=""
    )
    return made.eval(), torch.randn(photos, 3, side, side)


def _arm(
    way: str, config: DecoderConfig, patches: int, photos: int, options: argparse.Namespace
) -> tuple[TextDecoder, Any, Tensor]:
    """A decoder with its way of attention, what computes its memory, and ids (B*K, T)."""
    torch.manual_seed(0)
    decoder = TextDecoder(config).eval()
    seen = torch.randn(photos, patches, config.width)
    ids = torch.randint(config.vocab_size, (photos * options.beams, TOKENS))
    left = _quarter(patches)
    if way == STRONGEST:
        _replace(decoder, lambda whole: ways.Strongest(whole, options.keys))
    elif way == POOLED:
        side = math.isqrt(patches)
        group = ways.pooled(side, side, _first(patches)).expand(photos, -1)
        return decoder, lambda: decoder.photo_memory(ways.means(seen, group, left)), ids
    elif way == MERGED:  # the encoder has merged them
        sizes = torch.full((photos, left), patches / left)
        _replace(decoder, lambda whole: ways.Counted(whole, sizes))
        seen = seen[:, :left].contiguous()
    return decoder, lambda: decoder.photo_memory(seen), ids


def _replace(decoder: TextDecoder, made: Any) -> None:
    for layer in decoder.layers:
        layer.cross_attention = made(layer.cross_attention)


def _write(decoder: nn.Module, memory: list[KeyValue], ids: Tensor) -> Tensor:
    """Feed ids (R, T) token by token; the logits of the last (R, V)."""
    past = None
    for step in range(ids.shape[1]):
        logits, past = decoder(ids[:, step : step + 1], memory, past)
    return logits[:, -1]


def time_table(found: dict[str, Any]) -> str:
    lines = [
        f"Batch {found['photos']}, beams {found['beams']}, {found['tokens']} tokens, "
        f"{found['keys']} strongest keys, float32, one thread, CPU time; ×: times full attention. "
        f"Machine: {found['machine']}", "",
        "| N | decoder | " + " | ".join(f"{way}: step, ms | end to end, s" for way in WAYS) + " |",
        "| ---: | --- |" + " ---: | ---: |" * len(WAYS),
    ]  # fmt: skip
    for row in found["rows"]:
        cells = [str(row["patches"]), row["decoder"]]
        for way, one in row["ways"].items():
            for name, scale in (("step", 1e3), ("whole", 1.0)):
                ratio = "" if way == FULL else f" (×{one[f'{name}_ratio']:.2f})"
                cells.append(f"{scale * one[name]:.2f}{ratio}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# Captions and maps --------------------------------------------------------------------------------


def measure_quality(options: argparse.Namespace) -> dict[str, Any]:
    """CIDEr-D of each way, with full attention's and the difference's spread, and its pointing."""
    images = _images(options)
    captioner = load(device="cpu", dtype="float32")
    model = captioner.own
    features = []
    for at in range(0, len(images), BATCH):
        photos = [load_photo(one.photo, min_side=model.side) for one in images[at : at + BATCH]]
        features.append(model.encode(np.stack([to_square(p, model.side) for p in photos])))
    search = captioner.search(Request(beams=options.beams))
    texts: dict[str, list[str]] = {}
    scores: dict[str, np.ndarray] = {}
    found: dict[str, dict[str, float]] = {}
    for way in WAYS:
        with _changed(captioner, way, options.keys), torch.inference_mode():
            written = [
                row[0].ids
                for part in features
                for row in model.write(model.memory_of(part), search)
            ]
            texts[way] = [model.tokenizer.decode(ids) for ids in written]
            value, scores[way] = cider_d(texts[way], [one.captions for one in images])
            gained = scores[way] - scores[FULL]
            found[way] = {
                "CIDEr-D": value,
                "gained": float(gained.mean()),
                "standard_error": float(gained.std() / math.sqrt(len(gained))),
                "same": float(
                    np.mean([a == b for a, b in zip(texts[way], texts[FULL], strict=True)])
                ),
            }
            if options.instances:
                found[way] |= _pointing(
                    captioner, images, texts[FULL], Instances(options.instances)
                )
    return {"model": captioner.name, "photos": len(images), "beams": options.beams,
            "keys": options.keys, "ways": found}  # fmt: skip


def _images(options: argparse.Namespace) -> list[AnnotatedImage]:
    images = [one for one in read_annotations(options.annotations).images if one.captions]
    found = list(islice(located(images, [options.images]), options.photos))
    missing = [one for one in found if one.member is None and not one.file.is_file()]
    if missing or len(found) < 2:
        raise DataError(
            f"{len(missing)} of {len(found)} photographs of {options.annotations} are not in "
            f"{options.images}; two at least are needed, and all of them."
        )
    return found


@contextmanager
def _changed(captioner: Captioner, way: str, keys: int) -> Iterator[None]:
    """The model with another way of attention, for a while."""
    members = [m for m in captioner.own.modules() if isinstance(m, CaptionModel)]
    before = [[layer.cross_attention for layer in m.decoder.layers] for m in members]
    for member in members:
        decoder, (height, width) = member.decoder, member.grid
        if way == STRONGEST:
            _replace(decoder, lambda whole: ways.Strongest(whole, keys))
        elif way == POOLED:
            group = ways.pooled(height, width)
            _regroup(decoder, lambda x, g=group: g.expand(len(x), -1))
        elif way == MERGED:
            target = -(-height // 2) * -(-width // 2)
            _regroup(decoder, lambda x, n=target: ways.merged(x, n))
    try:
        yield
    finally:
        for member, layers in zip(members, before, strict=True):
            vars(member.decoder).pop("photo_memory", None)
            for layer, whole in zip(member.decoder.layers, layers, strict=True):
                layer.cross_attention = whole


def _regroup(decoder: TextDecoder, group_of: Any) -> None:
    """Its memory is of the means of groups, each in place of all patches of its group."""
    whole = decoder.photo_memory
    vars(decoder)["photo_memory"] = lambda x: whole(ways.in_place(x, group_of(x)))


def _pointing(
    captioner: Captioner, images: Sequence[AnnotatedImage], texts: Sequence[str], there: Instances
) -> dict[str, float]:
    """How often the peak of a word's map lies on the thing that it names, and of how many words."""
    hits = []
    for image, text in zip(images, texts, strict=True):
        if not isinstance(image.image_id, int) or not captioner.model.tokenizer.words(
            captioner.model.tokenizer.encode(text)
        ):
            continue
        photo = load_photo(image.photo, min_side=captioner.size)
        [read] = captioner.explain_photo(photo, [text], Request(heatmaps="attention"))
        for word in pointings(captioner, image.image_id, image.file, [{"attention": read}], there):
            hits.append(word.scores["attention"].pointing)
    if not hits:
        raise DataError("No caption names a thing that --instances has on its photo.")
    return {"pointing": float(np.mean(hits)), "words": len(hits)}


def quality_table(found: dict[str, Any]) -> str:
    names = {
        "CIDEr-D": "CIDEr-D", "gained": "against full", "standard_error": "standard error of that",
        "same": "the same caption", "pointing": "pointing",
    }  # fmt: skip
    shown = {n: label for n, label in names.items() if n in found["ways"][FULL]}
    lines = [f"{found['model']}, {found['photos']} photos, beams {found['beams']}, "
             f"{found['keys']} strongest keys", "",
             f"| | {' | '.join(shown.values())} |", "| --- |" + " ---: |" * len(shown)]  # fmt: skip
    for way, one in found["ways"].items():
        lines.append(f"| {way} | {' | '.join(f'{one[n]:.3f}' for n in shown)} |")
    return "\n".join(lines)
