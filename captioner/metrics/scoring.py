"""Several scores of one set of captions at once, with intervals and a line that says what they are.

>>> result = score(["a dog runs", "two cats"], [["a dog is running"], ["two cats sleep"]])
>>> print(result["CIDEr-D"].value, result.signature)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from captioner import __version__
from captioner.errors import DataError, SettingError
from captioner.metrics.bleu import bleu_from, bleu_statistics
from captioner.metrics.bootstrap import interval, resampled_sums
from captioner.metrics.cider import Cider, CiderD, DocumentFrequency
from captioner.metrics.forms import Captions, paired
from captioner.metrics.ngrams import CandidateNgrams, ReferenceNgrams
from captioner.metrics.rouge import rouge_l_scores
from captioner.metrics.tokens import prepare
from captioner.texts import in_columns

BLEUS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4")
DEFAULT_METRICS = ("CIDEr-D", *BLEUS, "ROUGE-L")
JAVA_METRICS = ("METEOR", "SPICE")
ALL_METRICS = ("CIDEr-D", "CIDEr", *BLEUS, "ROUGE-L", *JAVA_METRICS)
TOKENIZER = "ptb-3.4.1"
PLAIN_CIDER = (
    "CIDEr is the plain one of the paper here. What pycocoevalcap and most papers call CIDEr is "
    "CIDEr-D: --metrics CIDEr-D."
)

_SETTINGS = {
    "CIDEr-D": "CIDEr-D(n=4,sigma=6)",
    "CIDEr": "CIDEr(n=4,no clipping,no length penalty)",
    "ROUGE-L": "ROUGE-L(beta=1.2)",
    "METEOR": "METEOR(1.5,en,norm)",
    "SPICE": "SPICE(1.0)",
}


@dataclass(frozen=True)
class Metric:
    """One score of a set of captions.

    value: the corpus value, as a fraction (CIDEr from 0 to 10, the others from 0 to 1).
    per_image: (images,) each image's own. low, high: the 95% bootstrap interval, or None.
    statistics, combine: the (images, k) rows that add up over images, and the function that takes
    sums of rows (..., k) and how many rows there are to values (...,).
    """

    value: float
    per_image: np.ndarray
    statistics: np.ndarray
    combine: Callable[[np.ndarray, int], np.ndarray]
    low: float | None = None
    high: float | None = None

    def resampled(self, resamples: int, seed: int) -> np.ndarray:
        """(resamples,) the value over drawn images; the same draws for the same seed."""
        sums = resampled_sums(self.statistics, resamples, seed)
        return self.combine(sums, len(self.statistics))


@dataclass(frozen=True, repr=False)
class Scores(Mapping[str, Metric]):
    """All scores of a set of captions by name: `scores["CIDEr-D"].value`, and `to_dict()` for JSON.
    It prints as a table."""

    metrics: dict[str, Metric]
    images: int
    references: int
    signature: str

    def __getitem__(self, name: str) -> Metric:
        if name not in self.metrics:
            raise KeyError(f"{name!r} was not asked for; there are {', '.join(self.metrics)}")
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def __repr__(self) -> str:
        return f"{self.table()}\n\n{self.signature}"

    def table(self) -> str:
        """Metric, value as a fraction, its interval, and the value x100 as papers print it; and
        what may be taken for something else."""
        rows = [["metric", "value", "95% interval", "x100"]]
        for name, metric in self.metrics.items():
            span = "-" if metric.low is None else f"{metric.low:.4f} to {metric.high:.4f}"
            rows.append([name, f"{metric.value:.4f}", span, f"{100 * metric.value:.1f}"])
        return in_columns(rows) + (f"\n\n{PLAIN_CIDER}" if "CIDEr" in self.metrics else "")

    def to_dict(self) -> dict[str, Any]:
        """{"signature", "metrics": {name: {"value", "low", "high"}}, "images", "references"}.

        Values are fractions; low and high are left out when there was no bootstrap.
        """
        metrics: dict[str, dict[str, float]] = {}
        for name, metric in self.metrics.items():
            metrics[name] = {"value": metric.value}
            if metric.low is not None and metric.high is not None:
                metrics[name] |= {"low": metric.low, "high": metric.high}
        return {
            "signature": self.signature,
            "metrics": metrics,
            "images": self.images,
            "references": self.references,
        }


def score(
    candidates: Captions | None = None,
    references: Captions | None = None,
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    *,
    predictions: Captions | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    tokenize: bool = True,
    df: DocumentFrequency | None = None,
) -> Scores:
    """Scores one caption per image against the image's references.

    Args:
        candidates: a caption for each image.
        references: for each image its captions. Two dicts {image: [captions]} without names are
            `score(gts, res)`, references first, as pycocoevalcap has them.
        predictions: another name of `candidates`, as HF evaluate has it.
        metrics: names out of ALL_METRICS, or one. METEOR and SPICE need the extra
            captioner[java-metrics].
        bootstrap: how often to draw images for the 95% intervals; 0 for no intervals.
        seed: of the draws.
        tokenize: whether to run the PTB tokenizer; without, strings are tokens joined by spaces.
        df: document frequencies for CIDEr; by default those of these references.

    Raises:
        DataError: for lists that do not fit, unknown names, and CIDEr of one image without `df`.
    """
    names = check_metrics(metrics.split(",") if isinstance(metrics, str) else metrics)
    captions, groups = prepare(*paired(candidates, references, predictions), tokenize=tokenize)
    return score_tokens(
        captions,
        groups,
        names,
        bootstrap=bootstrap,
        seed=seed,
        df=df,
        tokenizer=TOKENIZER if tokenize else "none",
    )


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics by their proper names, each once, in the order of ALL_METRICS.

    Case and hyphens do not matter, `BLEU` is all four, and `all` is every one without Java.

    Raises:
        DataError: for a name that is none of them.
    """
    known: dict[str, tuple[str, ...]] = {_plain(name): (name,) for name in ALL_METRICS}
    known["bleu"] = BLEUS
    known["all"] = tuple(name for name in ALL_METRICS if name not in JAVA_METRICS)
    wanted: set[str] = set()
    for name in names:
        if _plain(name) not in known:
            raise DataError(
                f"There is no metric {name!r}; choose from {', '.join(ALL_METRICS)}, BLEU and all."
            )
        wanted.update(known[_plain(name)])
    if not wanted:
        raise DataError(f"No metric is asked for; choose from {', '.join(ALL_METRICS)}.")
    return tuple(name for name in ALL_METRICS if name in wanted)


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "").replace("_", "")


def score_tokens(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    names: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
    df: DocumentFrequency | None,
    tokenizer: str,
) -> Scores:
    """`score` for strings that are tokens already, and checked names."""
    if bootstrap < 0:
        raise DataError(f"`bootstrap` must be 0 or more draws, not {bootstrap}.")
    if seed < 0:
        raise SettingError(f"`seed` must be 0 or more, not {seed}.")
    metrics: dict[str, Metric] = {}
    if set(names) & {"CIDEr-D", "CIDEr", *BLEUS}:
        ngrams = ReferenceNgrams(references)
        counted = CandidateNgrams(ngrams, captions, np.arange(len(captions)))
        for name, kind in (("CIDEr-D", CiderD), ("CIDEr", Cider)):
            if name in names:
                metrics[name] = mean_metric(kind.from_ngrams(ngrams, df).scores_of(counted))
        if set(names) & set(BLEUS):
            metrics |= _bleus(bleu_statistics(ngrams, counted), names)
    if "ROUGE-L" in names:
        metrics["ROUGE-L"] = mean_metric(rouge_l_scores(captions, references))
    if set(names) & set(JAVA_METRICS):
        from captioner.metrics import java

        if "METEOR" in names:
            statistics = java.meteor_statistics(captions, references)
            metrics["METEOR"] = _metric(statistics, lambda sums, _: java.meteor_from(sums))
        if "SPICE" in names:
            metrics["SPICE"] = mean_metric(java.spice_scores(captions, references))
    if bootstrap:
        metrics = _with_intervals(metrics, bootstrap, seed)
    count = sum(len(group) for group in references)
    return Scores(
        metrics={name: metrics[name] for name in names},
        images=len(captions),
        references=count,
        signature=_signature(names, tokenizer, len(captions), count, df, bootstrap, seed),
    )


def _metric(statistics: np.ndarray, combine: Callable[[np.ndarray, int], np.ndarray]) -> Metric:
    return Metric(
        value=float(combine(statistics.sum(axis=0), len(statistics))),
        per_image=combine(statistics, 1),
        statistics=statistics,
        combine=combine,
    )


def mean_metric(per_image: np.ndarray) -> Metric:
    """A score whose corpus value is the mean of the images' values."""
    return _metric(per_image[:, None], lambda sums, images: sums[..., 0] / images)


def _bleus(statistics: np.ndarray, names: Sequence[str]) -> dict[str, Metric]:
    def combine(n: int) -> Callable[[np.ndarray, int], np.ndarray]:
        return lambda sums, _: bleu_from(sums)[..., n]

    return {name: _metric(statistics, combine(n)) for n, name in enumerate(BLEUS) if name in names}


def _with_intervals(metrics: dict[str, Metric], bootstrap: int, seed: int) -> dict[str, Metric]:
    """The metrics with their intervals; all from the same draws, made once."""
    columns = np.hstack([metric.statistics for metric in metrics.values()])
    sums = resampled_sums(columns, bootstrap, seed)
    result = {}
    first = 0
    for name, metric in metrics.items():
        width = metric.statistics.shape[1]
        values = metric.combine(sums[:, first : first + width], len(columns))
        first += width
        low, high = interval(values)
        result[name] = Metric(
            metric.value, metric.per_image, metric.statistics, metric.combine, low, high
        )
    return result


def _signature(
    names: Sequence[str],
    tokenizer: str,
    images: int,
    references: int,
    df: DocumentFrequency | None,
    bootstrap: int,
    seed: int,
) -> str:
    """One line from which someone else can repeat the numbers."""
    shown = [_SETTINGS[name] for name in names if name in _SETTINGS]
    bleus = [name for name in names if name in BLEUS]
    if bleus:
        numbers = ",".join(name[-1] for name in bleus)
        shown.append(f"BLEU-{'1..4' if len(bleus) == 4 else numbers}(closest)")
    parts = ["+".join(shown), f"tokens:{tokenizer}", f"images:{images}", f"references:{references}"]
    if "CIDEr-D" in names or "CIDEr" in names:
        parts.append(f"df:{'references' if df is None else df.described()}")
    parts.append(f"bootstrap:{bootstrap},seed:{seed},95%" if bootstrap else "bootstrap:none")
    parts.append(f"captioner:{__version__}")
    return "|".join(parts)
