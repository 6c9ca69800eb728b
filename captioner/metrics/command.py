"""`captioner score`: reads captions and references, prints the scores, writes what is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from captioner.errors import CaptionerError, DataError
from captioner.metrics.cider import DocumentFrequency
from captioner.metrics.compare import Comparison, compare
from captioner.metrics.matching import Matched, match
from captioner.metrics.readers import References, read_references, read_results
from captioner.metrics.scoring import Scores, check_metrics, score_tokens
from captioner.metrics.tables import comparison_table, scores_table, write_per_image
from captioner.metrics.tokens import prepare_candidates, prepare_references

TOKENIZER = "ptb-3.4.1"


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
            "--references", "-r", help="COCO captions JSON, or Karpathy's dataset_*.json."
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            help="The split of a Karpathy file: train, restval, val, test (the default), or "
            "several with commas."
        ),
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(
            help="Names with commas: CIDEr-D, CIDEr, BLEU-1 to BLEU-4 (BLEU is all four), ROUGE-L; "
            "METEOR and SPICE with the extra java-metrics."
        ),
    ] = "CIDEr-D,BLEU,ROUGE-L",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs and no table.")
    ] = False,
    per_image: Annotated[
        Path | None,
        typer.Option(help="Write each image's scores to this .csv or .jsonl file."),
    ] = None,
    compare_with: Annotated[
        Path | None,
        typer.Option("--compare", help="Another results file: is the difference more than chance?"),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a self-contained page with the best and the worst captions."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="The folder of the photos, for --report.")
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Score what is there when captions are missing or empty or have no references.",
        ),
    ] = False,
    df: Annotated[
        Path | None,
        typer.Option(help="Document frequencies for CIDEr, written by --save-df on a larger set."),
    ] = None,
    save_df: Annotated[
        Path | None,
        typer.Option(help="Write the references' document frequencies (.json or .json.gz)."),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Draws for the 95% intervals; 0 for none.")
    ] = 1000,
    no_bootstrap: Annotated[
        bool, typer.Option("--no-bootstrap", help="No intervals, the same as --bootstrap 0.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Score captions against human references: CIDEr-D, BLEU, ROUGE-L, as the COCO evaluation does.

    Examples:

        captioner score results.json --references captions_val2017.json

        captioner score captions.jsonl -r dataset_coco.json --split test --json

        captioner score new.json -r refs.json --compare old.json

        captioner score results.json -r refs.json --report report.html --images val2017

        captioner score -r captions_train.json --save-df train-df.json.gz
    """
    with _sentences():
        names = check_metrics(metrics.split(","))
        draws = 0 if no_bootstrap else bootstrap
        _check_options(per_image, report, save_df, images, compare_with, draws)
        if results is None and save_df is None:
            raise DataError(
                "There is nothing to score: give a results file, as in "
                "`captioner score RESULTS --references REFS`."
            )
        refs = read_references(references, split)
        if save_df:
            _save_df(save_df, refs)
        if results is None:
            typer.echo(f"Document frequencies of {len(refs.ids):,} images are in {save_df}.")
            return

        frequencies = DocumentFrequency.load(df) if df else None
        matched = match(read_results(results), refs, results, allow_missing=allow_missing)
        other = None
        if compare_with:
            second = read_results(compare_with)
            other = match(second, refs, compare_with, allow_missing=allow_missing)
            matched, other = _common(matched, other)

        tokens = prepare_references([refs.captions[i] for i in matched.images], tokenize=True)

        def scored(captions: Sequence[str]) -> Scores:
            return score_tokens(
                prepare_candidates(captions, tokenize=True),
                tokens,
                names,
                bootstrap=draws,
                seed=seed,
                df=frequencies,
                tokenizer=TOKENIZER,
            )

        scores = scored(matched.captions)
        comparison = None
        if other and compare_with:
            comparison = compare(
                scores,
                scored(other.captions),
                resamples=draws,
                seed=seed,
                names=_short_names(results, compare_with),
            )

        left_out = list(dict.fromkeys(matched.left_out + (other.left_out if other else [])))
        for line in left_out:
            typer.echo(f"Note: {line}", err=True)
        if as_json:
            content = scores.as_dict() | {"left_out": left_out}
            if comparison:
                content["compare"] = comparison.as_dict()
            typer.echo(json.dumps(content, indent=2))
        else:
            _print(scores, results, refs, comparison)

        if per_image:
            with _writing(per_image):
                write_per_image(per_image, scores, refs, matched)
        if report:
            from captioner.metrics.report import write_report  # only when a page is made

            with _writing(report):
                write_report(
                    report,
                    scores,
                    refs,
                    matched,
                    title=results.name,
                    images=images,
                    other=other,
                    comparison=comparison,
                )


@contextmanager
def _sentences() -> Iterator[None]:
    """The user's mistakes as a sentence on stderr and exit status 2, without a traceback."""
    try:
        yield
    except CaptionerError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error


def _check_options(
    per_image: Path | None,
    report: Path | None,
    save_df: Path | None,
    images: Path | None,
    compare_with: Path | None,
    bootstrap: int,
) -> None:
    """Mistakes in the options that need no file to be read."""
    if per_image and per_image.suffix.lower() not in (".csv", ".jsonl"):
        raise DataError(f"--per-image {per_image} must end with .csv or .jsonl.")
    for path in (per_image, report, save_df):
        if path and not path.parent.is_dir():
            raise DataError(f"{path} cannot be written: there is no folder {path.parent}.")
    if images and not report:
        raise DataError("--images gives the photos of a page: add --report FILE.html.")
    if images and not images.is_dir():
        raise DataError(f"--images {images} is not a folder.")
    if compare_with and not bootstrap:
        raise DataError("--compare needs bootstrap draws: leave out --no-bootstrap.")


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


def _save_df(path: Path, refs: References) -> None:
    """Saves the document frequencies of all references, scored or not."""
    with _writing(path):
        DocumentFrequency.of(refs.captions).save(path)


def _print(scores: Scores, results: Path, refs: References, comparison: Comparison | None) -> None:
    typer.echo(f"{results} against {refs.path}")
    typer.echo(f"{scores.images:,} images, {scores.references:,} references\n")
    typer.echo(scores_table(scores))
    if comparison:
        typer.echo(f"\n{comparison_table(comparison)}\n\n{comparison.verdict()}")
    typer.echo(f"\n{scores.signature}")


def main() -> None:
    """Runs the command alone: `python -m captioner.metrics.command`."""
    app = typer.Typer(add_completion=False)
    app.command()(score)
    app(prog_name="captioner score")


if __name__ == "__main__":
    main()
