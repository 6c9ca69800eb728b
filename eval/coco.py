"""Caption a whole set with a model, score it, and leave everything in a folder.

    python -m eval coco --images val2017 --annotations captions_val2017.json --out runs/eval
    python -m eval coco --images coco/images --annotations dataset_coco.json --split test

The second line is Karpathy's protocol: 5,000 photos of COCO 2014, five references each.

The captions come from the folder job, so OUT holds its captions.jsonl (a line a photo, written as
it is made), and then results.json (COCO result format), scores.json, report.html, and
confidence.svg, which shows whether the captions that the model is surer of are better. It says how
many of its words people used of the photo, too, by their probability, and which temperature makes a
caption's confidence that share; `python -m train release --confidence scores.json` stores it. The
same command again continues where it stopped. Every published score of the model in the box comes
from this command.
"""

import argparse
import json
import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.batch.items import Item
from captioner.batch.job import run_job
from captioner.batch.journal import ASKED, Journal, read_records
from captioner.batch.local_engine import LocalEngine
from captioner.batch.progress import Progress, Tally
from captioner.batch.sources import Ignored
from captioner.batch.spec import JobSpec
from captioner.errors import DataError
from captioner.exits import Exit, run
from captioner.finish import confidence_temperature
from captioner.metrics.matching import match
from captioner.metrics.readers import Candidate, References, read_references
from captioner.metrics.report import write_report
from captioner.metrics.scoring import DEFAULT_METRICS, score
from captioner.options import SERVER
from captioner.outputs import Guard
from captioner.request import Request
from captioner.signals import stopping
from captioner.texts import to_line
from captioner.tokenizer import clean_caption
from train.build import read_lines
from train.language_penalty import LanguagePenalty

from .common import add_machine, parser
from .confidence import judge, sentences, write_picture
from .wording import table, wording

BATCH = 32
STOPPED = "Stopped; the same command continues."


@dataclass(frozen=True, kw_only=True)
class SetSpec(JobSpec):
    """The job of a caption set: of the photos that its file names, those with references.

    ids: of these, as text.
    """

    ids: frozenset[str]

    def find(self, ignored: Ignored, known: Container[str] = ()) -> Iterator[Item]:
        found = super().find(ignored, known)
        return (item for item in found if str(item.image_id) in self.ids)


def main(arguments: list[str] | None = None) -> int:
    made = parser("coco", __doc__)
    made.add_argument("--model", help="a folder or a hub name; default: the model in the box")
    made.add_argument("--revision", help="of a hub name: the branch, tag or commit")
    made.add_argument("--server", metavar=SERVER.value, help=SERVER.help)
    made.add_argument("--images", type=Path, required=True, help="the folder of the photographs")
    made.add_argument("--annotations", type=Path, required=True, help="COCO or Karpathy captions")
    made.add_argument("--split", help="of a Karpathy file, several with commas; default: test")
    made.add_argument("--beams", type=int)
    made.add_argument("--min-length", type=int)
    made.add_argument("--max-length", type=int)
    made.add_argument("--length-penalty", type=float)
    made.add_argument("--prompt", default="", help="what a hub model reads before its caption")
    made.add_argument("--out", type=Path, default=Path("runs/eval"))
    made.add_argument(
        "--text", type=Path, action="append", default=[],
        help="further captions that people wrote, a line each, to know the articles of words by",
    )  # fmt: skip
    made.add_argument("--bootstrap", type=int, default=1000, help="draws for the intervals")
    add_machine(made)
    options = made.parse_args(arguments)
    return run(lambda: _coco(options), stopped=STOPPED)


def _coco(options: argparse.Namespace) -> int:
    references = read_references(options.annotations, options.split)
    if not options.images.is_dir():
        raise DataError(f"--images {options.images} is not a folder.")
    spec = SetSpec(
        paths=(str(options.images),), annotations=options.annotations,
        output=options.out / "captions.jsonl", ids=frozenset(references.ids), retry_failed=True,
        request=Request(
            beams=options.beams, min_length=options.min_length, max_length=options.max_length,
            length_penalty=options.length_penalty, prompt=options.prompt,
        ),
        batch_size=BATCH, model=options.model, revision=options.revision, server=options.server,
        device=options.device, dtype=options.dtype or (None if options.server else "float32"),
        runtime=options.runtime,
    )  # fmt: skip
    guard = spec.check()
    _check_outputs(spec, guard)
    _check_photos(spec, references, options.images)
    tally = Tally()
    progress = Progress(tally, quiet=False, bar=sys.stderr.isatty())
    with (
        stopping(lambda: print("\nStopping; again to stop now.", file=sys.stderr)) as stop,
        LocalEngine(spec.config) as engine,
    ):
        engine.settings |= {
            "annotations": str(options.annotations.resolve()), "split": options.split,
        }  # fmt: skip
        _refuse_other_settings(spec, engine.settings)
        run_job(spec, guard, lambda *_: nullcontext(engine), tally, progress, stop)
        if stop():
            print(STOPPED, file=sys.stderr)
            return Exit.STOPPED
    if tally.failed:
        raise DataError(
            f"{tally.failed} photographs have no caption, and without them there is no score: see "
            f"{Journal.errors_file(_records(spec))}."
        )
    _score(spec, references, options, engine)
    return Exit.DONE


def _check_outputs(spec: JobSpec, guard: Guard) -> None:
    """Nobody's file is replaced: no input, and nothing where no job has been at work."""
    records = _records(spec)
    for name in ("results.json", "scores.json", "report.html", "confidence.svg"):
        path = records.with_name(name)
        guard.check(path, "The evaluation", lambda _: True)
        if path.exists() and not records.exists():
            raise DataError(f"{records.parent} holds another {name}; give another --out.")


def _check_photos(spec: JobSpec, references: References, images: Path) -> None:
    """Whether all photos with references are there, before hours are spent on some."""
    there = {
        str(item.image_id)
        for item in spec.find(Ignored())
        if item.span or (item.file and item.file.is_file())
    }
    missing = [n for n, image_id in enumerate(references.ids) if image_id not in there]
    if missing:
        first = references.files[missing[0]] or f"that of image {references.ids[missing[0]]}"
        raise DataError(
            f"{len(missing)} of {len(references.ids)} photographs are not in {images}; "
            f"the first is {Path(first).name}."
        )


def _refuse_other_settings(spec: JobSpec, settings: dict[str, Any]) -> None:
    """Scores are of one model and setting: its captions are not mixed with another's."""
    records = _records(spec)
    if not records.exists() or not records.stat().st_size:
        return
    try:
        before = json.loads(Journal.run_file(records).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if _without_asked(before) != _without_asked(json.loads(json.dumps(settings))):
        raise DataError(
            f"{records.parent} holds captions of another model or setting; give another --out, or "
            "delete it."
        )


def _without_asked(settings: Any) -> Any:
    """What the captions depend on, however it was asked for: by another path of the same model."""
    return {k: v for k, v in settings.items() if k != ASKED} if settings else settings


def _records(spec: JobSpec) -> Path:
    assert spec.records is not None  # there is an output
    return spec.records


def _score(
    spec: JobSpec,
    references: References,
    options: argparse.Namespace,
    engine: LocalEngine,
) -> None:
    """Score the captions of the job, and write what is told of them."""
    out: Path = options.out
    records = {str(r["image_id"]): r for r in read_records(_records(spec))}
    captions = {photo: record["caption"] for photo, record in records.items()}
    results = [
        {"image_id": image.image_id, "caption": captions[str(image.image_id)]}
        for image in references.images
    ]
    (out / "results.json").write_text(to_line(results), encoding="utf-8")
    candidates = [Candidate(captions[i], image_id=i) for i in references.ids]
    matched = match(candidates, references, out / "results.json")
    scores = score(
        matched.captions, [references.captions[i] for i in matched.images], DEFAULT_METRICS,
        bootstrap=options.bootstrap,
    )  # fmt: skip
    name, temperature = engine.model.name, confidence_temperature(engine.model.model.about)
    confidence = judge(
        [records[references.ids[i]] for i in matched.images],
        [references.captions[i] for i in matched.images],
        scores.metrics["CIDEr-D"].per_image, temperature,
    )  # fmt: skip
    worded = _worded(matched.captions, [references.captions[i] for i in matched.images], options)
    content = scores.to_dict() | {
        "confidence": confidence, "wording": worded, "model": name, "settings": engine.settings,
    }  # fmt: skip
    (out / "scores.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_report(
        out / "report.html", scores, references, matched, images=options.images, title=name
    )
    print(f"{name} on {options.annotations}\n\n{scores.table()}\n\n{scores.signature}")
    print(f"\nThe wording, and that of one person for each photo:\n\n{table(worded)}")
    if confidence.get("rank_correlation") is not None:
        write_picture(out / "confidence.svg", name, confidence)
    print("", *sentences(confidence, temperature), sep="\n")
    print(f"\nThe captions, scores and the report page are in {out}.")


def _worded(
    captions: Sequence[str], references: Sequence[Sequence[str]], options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """The wording of the model, and of the first of the people who wrote of each photo."""
    lines = [line for path in options.text for line in read_lines(path)]
    people = [caption for captions in references for caption in captions]
    penalty = LanguagePenalty(map(clean_caption, [*people, *lines]))
    first = [captions[0] for captions in references]
    return {"model": wording(captions, penalty), "a person": wording(first, penalty)}
