"""`captioner score`: reads captions and references, prints the scores, writes what is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from captioner.errors import CaptionerError, DataError, SettingError
from captioner.exits import run
from captioner.metrics.cider import DocumentFrequency, is_document_frequency
from captioner.metrics.compare import Comparison, compare
from captioner.metrics.matching import Matched, match
from captioner.metrics.readers import References, read_references, read_results
from captioner.metrics.scoring import TOKENIZER, Scores, check_metrics, score_tokens
from captioner.metrics.tables import comparison_table, is_per_image, write_per_image
from captioner.metrics.tokens import prepare_candidates, prepare_references
from captioner.options import flags, with_settings
from captioner.settings import setting
from captioner.texts import readable


@dataclass(frozen=True)
class ScoreSettings:
    """What is scored, how, and what is written besides the table."""

    split: str | None = setting(
        None, "Score only this split of a Karpathy file: train, restval, val or test, which is the "
        "default; several are given with commas.",
    )  # fmt: skip
    metrics: str = setting(
        "CIDEr-D,BLEU,ROUGE-L",
        "Compute these metrics, given with commas: CIDEr-D, CIDEr, BLEU-1 to BLEU-4 (BLEU is all "
        "four), ROUGE-L; METEOR and SPICE need the extra java-metrics.",
    )
    json: bool = setting(False, "Print JSON for programs and no table.")
    per_image: Path | None = setting(
        None, "Write each image's scores to this .csv or .jsonl file.", value="FILE"
    )
    compare: Path | None = setting(
        None,
        "Compare with this results file, and say whether the difference is more than chance.",
        value="FILE",
    )
    report: Path | None = setting(
        None, "Write a self-contained page with the best and the worst captions.", value="FILE"
    )
    images: Path | None = setting(None, "Show the photos of this folder in --report.", value="DIR")
    allow_missing: bool = setting(
        False, "Score what is there when captions are missing or empty or have no references."
    )
    df: Path | None = setting(
        None,
        "Take the document frequencies of CIDEr from this file, which --save-df wrote.",
        value="FILE",
    )
    save_df: Path | None = setting(
        None, "Write the references' document frequencies (.json or .json.gz).", value="FILE"
    )
    bootstrap: int = setting(1000, "How many draws the 95% intervals are made of; 0 for none.")
    no_bootstrap: bool = setting(False, "Make no intervals, the same as --bootstrap 0.")
    seed: int = setting(0, "The number that the draws follow from.")
    overwrite: bool = setting(
        False, "Replace files that are there already, though no earlier run of ours made them."
    )

    @property
    def draws(self) -> int:
        return 0 if self.no_bootstrap else self.bootstrap


@with_settings
def score(
    *,
    results: Annotated[
        Path | None,
        typer.Argument(
            help="The captions: COCO results JSON, or the JSONL or CSV that `captioner caption` "
            "writes. Only --save-df does without."
        ),
    ] = None,
    references: Annotated[
        Path,
        typer.Option(
            "--references",
            "-r",
            help="What people wrote: COCO captions JSON, Karpathy's dataset_*.json, or JSON lines.",
        ),
    ],
    settings: ScoreSettings,
) -> None:
    """Score captions against human references: CIDEr-D, BLEU, ROUGE-L, as the COCO evaluation does.

    Examples:

        captioner score results.json --references captions_val2017.json

        captioner score captions.jsonl -r dataset_coco.json --split test --json

        captioner score new.json -r refs.json --compare old.json

        captioner score results.json -r refs.json --report report.html --images val2017

        captioner score -r captions_train.json --save-df train-df.json.gz
    """
    status = run(lambda: _score(results, references, settings), names=flags(ScoreSettings))
    if status:
        raise typer.Exit(status)


def _score(results: Path | None, references: Path, asked: ScoreSettings) -> None:
    check_metrics(asked.metrics.split(","))
    _check(results, references, asked)
    refs = read_references(references, asked.split)
    if asked.save_df:
        with _writing(asked.save_df):
            DocumentFrequency.of(refs.captions).save(asked.save_df)  # of all, scored or not
    if results is None:
        typer.echo(f"Document frequencies of {len(refs.ids):,} images are in {asked.save_df}.")
        return

    def matched_of(path: Path) -> Matched:
        return match(read_results(path), refs, path, allow_missing=asked.allow_missing)

    scorer = _scorer(refs, asked)
    matched, other, comparison = matched_of(results), None, None
    if asked.compare:
        matched, other = _common(matched, matched_of(asked.compare))
    scores = scorer(matched)
    if asked.compare and other:
        comparison = compare(
            scores, scorer(other), resamples=asked.draws, seed=asked.seed,
            names=_short_names(results, asked.compare),
        )  # fmt: skip
    left_out = list(dict.fromkeys(matched.left_out + (other.left_out if other else [])))
    for line in left_out:
        typer.echo(f"Note: {readable(line)}", err=True)
    if asked.json:
        content = scores.to_dict() | {"left_out": left_out}
        if comparison:
            content["compare"] = comparison.to_dict()
        typer.echo(json.dumps(content, indent=2))
    else:
        typer.echo(readable(_table(scores, results, refs, comparison)))
    if asked.per_image:
        with _writing(asked.per_image):
            write_per_image(asked.per_image, scores, refs, matched)
    if asked.report:
        from captioner.metrics.report import write_report  # only when a page is made

        with _writing(asked.report):
            write_report(
                asked.report, scores, refs, matched, title=results.name, images=asked.images,
                other=other, comparison=comparison,
            )  # fmt: skip


def _scorer(refs: References, asked: ScoreSettings) -> Callable[[Matched], Scores]:
    """Scores captions; of the same images, the references are made tokens of once."""
    df = DocumentFrequency.load(asked.df) if asked.df else None
    tokens: dict[tuple[int, ...], Sequence[Sequence[str]]] = {}

    def scores_of(matched: Matched) -> Scores:
        images = tuple(matched.images)
        if images not in tokens:
            tokens[images] = prepare_references([refs.captions[i] for i in images], tokenize=True)
        return score_tokens(
            prepare_candidates(matched.captions, tokenize=True), tokens[images],
            check_metrics(asked.metrics.split(",")),
            bootstrap=asked.draws, seed=asked.seed, df=df, tokenizer=TOKENIZER,
        )  # fmt: skip

    return scores_of


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error


def _check(results: Path | None, references: Path, asked: ScoreSettings) -> None:
    """Mistakes in the settings that need no file to be read, and files that may not be written."""
    if asked.per_image and asked.per_image.suffix.lower() not in (".csv", ".jsonl"):
        raise SettingError(f"`per_image` {asked.per_image} must end with .csv or .jsonl.")
    if asked.images and not asked.report:
        raise SettingError("`images` gives the photos of a page: add --report FILE.html.")
    if asked.images and not asked.images.is_dir():
        raise SettingError(f"`images` {asked.images} is not a folder.")
    for name, value in (("bootstrap", asked.bootstrap), ("seed", asked.seed)):
        if value < 0:
            raise SettingError(f"`{name}` must be 0 or more, not {value}.")
    if asked.compare and not asked.draws:
        raise SettingError("`compare` needs bootstrap draws: leave out `no_bootstrap`.")
    if results is None and asked.save_df is None:
        raise CaptionerError(
            "There is nothing to score: give a results file, as in "
            "`captioner score RESULTS --references REFS`."
        )
    _check_outputs([results, references, asked.compare, asked.df], asked)


def _check_outputs(inputs: Sequence[Path | None], asked: ScoreSettings) -> None:
    """Outputs go into folders that are there, and replace nothing but earlier ones."""
    named = [
        (path, name)
        for name in ("per_image", "report", "save_df")
        if (path := getattr(asked, name)) is not None
    ]
    if not named:
        return
    from captioner.metrics.report import is_report
    from captioner.outputs import Guard

    ours = {"per_image": is_per_image, "report": is_report, "save_df": is_document_frequency}
    known = [path for path in (*inputs, asked.images) if path]
    folders = [path for path in known if path.is_dir()]
    guard = Guard(
        known, overwrite=asked.overwrite,
        more=lambda: chain.from_iterable(folder.rglob("*") for folder in folders),
    )  # fmt: skip
    for path, name in named:
        if not path.parent.is_dir():
            raise DataError(f"{path} cannot be written: there is no folder {path.parent}.")
        guard.check(path, flags(ScoreSettings)[name], ours[name])


def _common(first: Matched, second: Matched) -> tuple[Matched, Matched]:
    """Both on the images that both have."""
    shared = sorted(set(first.images) & set(second.images))
    if not shared:
        raise DataError("The two results files have no image in common to be compared on.")
    return first.on(shared), second.on(shared)


def _short_names(first: Path, second: Path) -> tuple[str, str]:
    """The names of two files, with their folders only where the names alone are the same."""
    if first.name == second.name:
        return str(first), str(second)
    return first.name, second.name


def _table(scores: Scores, results: Path, refs: References, comparison: Comparison | None) -> str:
    parts = [
        f"{results} against {refs.path}\n"
        f"{scores.images:,} images, {scores.references:,} references",
        scores.table(),
    ]
    if comparison:
        parts += [comparison_table(comparison), comparison.verdict()]
    return "\n\n".join([*parts, scores.signature])
