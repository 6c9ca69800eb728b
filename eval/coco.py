"""Caption a whole set with a model, score it, and leave everything in a folder.

    python -m eval coco --images val2017 --annotations captions_val2017.json --out runs/eval
    python -m eval coco --images coco/images --annotations dataset_coco.json --split test

The second line is Karpathy's protocol: 5,000 photos of COCO 2014, five references each.

OUT then holds captions.jsonl (a line a photo, written as it is made), results.json (COCO result
format), scores.json and report.html. The same command again continues where it stopped. Every
published score of the model in the box comes from this command.
"""

import argparse
import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from captioner.captioner import BUILTIN, Captioner, load
from captioner.errors import CaptionerError, DataError
from captioner.metrics.matching import match
from captioner.metrics.readers import Candidate, References, read_references
from captioner.metrics.report import write_report
from captioner.metrics.scoring import DEFAULT_METRICS, TOKENIZER, score_tokens
from captioner.metrics.tables import scores_table
from captioner.metrics.tokens import prepare_candidates, prepare_references
from captioner.photos import load_photo, to_square
from captioner.request import Request

BATCH = 32


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m eval coco",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=BUILTIN, help="default: the model in the box")
    parser.add_argument("--images", type=Path, required=True, help="the folder of the photographs")
    parser.add_argument("--annotations", type=Path, required=True, help="COCO or Karpathy captions")
    parser.add_argument("--split", help="of a Karpathy file; default: test")
    parser.add_argument("--beams", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/eval"))
    parser.add_argument(
        "--features", type=Path, help="keep and reuse patch features in this folder"
    )
    parser.add_argument("--bootstrap", type=int, default=1000, help="draws for the intervals")
    parser.add_argument("--device")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except CaptionerError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; the same command continues.", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    references = read_references(options.annotations, options.split)
    if not options.images.is_dir():
        raise DataError(f"--images {options.images} is not a folder.")
    files = _files(references, options.images)
    model = load(options.model, device=options.device, dtype=options.dtype)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "model": _digest(options.model),
        "annotations": str(options.annotations.resolve()),
        "split": options.split,
        "search": model.search(Request(beams=options.beams)).to_dict(),
        "dtype": options.dtype,
    }
    journal = out / "captions.jsonl"
    done = _resume(journal, out / "settings.json", settings)
    _caption(model, references, files, done, journal, options)

    results = [
        {"image_id": int(i) if i.isdigit() else i, "caption": done[i]} for i in references.ids
    ]
    (out / "results.json").write_text(json.dumps(results, ensure_ascii=False), encoding="utf-8")
    matched = match(
        [Candidate(done[i], image_id=i) for i in references.ids], references, out / "results.json"
    )
    scores = score_tokens(
        prepare_candidates(matched.captions, tokenize=True),
        prepare_references([references.captions[i] for i in matched.images], tokenize=True),
        DEFAULT_METRICS, bootstrap=options.bootstrap, seed=0, df=None, tokenizer=TOKENIZER,
    )  # fmt: skip
    content = scores.as_dict() | {"model": model.name, "settings": settings}
    (out / "scores.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_report(
        out / "report.html", scores, references, matched, images=options.images, title=model.name
    )
    print(f"{model.name} on {options.annotations}\n\n{scores_table(scores)}\n\n{scores.signature}")
    print(f"\nThe captions, scores and the report page are in {out}.")


def _files(references: References, images: Path) -> list[Path]:
    files = [images / (name or f"{i}.jpg") for i, name in zip(references.ids, references.files,
                                                            strict=True)]  # fmt: skip
    # Karpathy's file names COCO photos without their folder (val2014/...), where they may lie.
    found = [
        f if f.is_file() else next((p / f.name for p in _folders(images) if (p / f.name).is_file()),
                                   f)
        for f in files
    ]  # fmt: skip
    missing = [f for f in found if not f.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(files)} photographs are not in {images}; "
            f"the first is {missing[0].name}."
        )
    return found


def _folders(images: Path) -> list[Path]:
    return sorted(p for p in images.iterdir() if p.is_dir())


@cache
def _digest(folder: Path) -> str:
    """Names the model by what it is, so that results of another are not mixed in."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        path = folder / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


def _resume(journal: Path, settings_file: Path, settings: dict[str, Any]) -> dict[str, str]:
    """The captions that are already made; a torn last line is cut off."""
    text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
    if settings_file.exists() and settings_file.read_text(encoding="utf-8") != text:
        raise DataError(
            f"{settings_file.parent} holds captions of another model or setting; give another "
            "--out, or delete it."
        )
    settings_file.write_text(text, encoding="utf-8")
    if not journal.exists():
        return {}
    data = journal.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        journal.write_bytes(whole)
    lines = [json.loads(line) for line in whole.decode("utf-8").splitlines()]
    return {str(line["image_id"]): line["caption"] for line in lines}


def _caption(
    model: Captioner,
    references: References,
    files: list[Path],
    done: dict[str, str],
    journal: Path,
    options: argparse.Namespace,
) -> None:
    """Caption what is not done yet, in batches; every batch is on disk before the next begins."""
    request = Request(beams=options.beams, heatmaps=False)
    todo = [n for n, i in enumerate(references.ids) if i not in done]
    bar = tqdm(total=len(files), initial=len(files) - len(todo), unit="photo", desc="captions")
    with journal.open("a", encoding="utf-8") as file:
        for start in range(0, len(todo), BATCH):
            part = todo[start : start + BATCH]
            photos = [load_photo(files[n], min_side=model.size) for n in part]
            features = _features(model, photos, part, len(files), options)
            captions = model.caption_features(features, photos, request)
            for n, caption in zip(part, captions, strict=True):
                done[references.ids[n]] = caption.text
                line = {
                    "image_id": references.ids[n],
                    "file": files[n].name,
                    **caption.to_dict(),
                    "model": model.name,
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            bar.update(len(part))
    bar.close()


def _features(
    model: Captioner, photos: list[Any], part: list[int], total: int, options: argparse.Namespace
) -> Any:
    """Patch features of a batch, float32, from the cache where it has them."""
    import torch

    def encode(which: list[int]) -> torch.Tensor:
        return model.encode(np.stack([to_square(photos[k], model.size) for k in which]))

    if options.features is None:
        return encode(list(range(len(part))))
    shape = (total, model.own.grid[0] * model.own.grid[1], model.own.width)
    data = hashlib.sha256(f"{options.annotations.resolve()} {options.split}".encode()).hexdigest()
    folder: Path = options.features / f"{_digest(options.model)}-{data[:8]}"
    store, known = _open_cache(folder, shape)
    missing = [k for k, n in enumerate(part) if not known[n]]
    if missing:
        fresh = encode(missing).float().cpu().numpy()
        rows = [part[k] for k in missing]
        store[rows] = fresh
        store.flush()
        known[rows] = True
        known.flush()
    return torch.from_numpy(np.asarray(store[part])).to(model.dtype)


def _open_cache(folder: Path, shape: tuple[int, int, int]) -> tuple[np.memmap, np.memmap]:
    folder.mkdir(parents=True, exist_ok=True)
    mode: Any = "r+" if (folder / "known").exists() else "w+"
    store = np.memmap(folder / "features", dtype=np.float32, mode=mode, shape=shape)
    return store, np.memmap(folder / "known", dtype=np.bool_, mode=mode, shape=shape[:1])
