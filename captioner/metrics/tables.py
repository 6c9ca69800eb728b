"""A comparison as a text table, and each image's own scores as a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from captioner.metrics.compare import Comparison
from captioner.metrics.matching import Matched
from captioner.metrics.readers import References
from captioner.metrics.scoring import ALL_METRICS, Scores
from captioner.texts import in_columns, to_cell, to_line

COLUMNS = ["image_id", "file", "caption"]
"""Of the per-image scores, before the metrics."""


def comparison_table(comparison: Comparison) -> str:
    """Metric, both values x100, the difference x100, its interval and p."""
    rows = [["x100", "this", "other", "difference", "95% interval", "p"]]
    for name, d in comparison.differences.items():
        rows.append(
            [
                name,
                f"{100 * d.value:.1f}",
                f"{100 * d.other:.1f}",
                f"{100 * d.difference:+.2f}",
                f"{100 * d.low:+.2f} to {100 * d.high:+.2f}",
                f"{d.p:.3f}",
            ]
        )
    return in_columns(rows)


def write_per_image(path: Path, scores: Scores, refs: References, matched: Matched) -> None:
    """One line per image: image_id, file, caption, and each metric as a fraction. In a CSV, text is
    written as the folder job writes it (`to_cell`).

    Raises:
        OSError: when the file cannot be written.
    """
    names = list(scores.metrics)
    lines = [
        [refs.ids[place], file, caption, *map(float, values)]
        for place, file, caption, values in zip(
            matched.images,
            matched.files,
            matched.captions,
            zip(*(scores[name].per_image for name in names), strict=True),
            strict=True,
        )
    ]
    header = [*COLUMNS, *names]
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix.lower() == ".csv":
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            for line in lines:
                writer.writerow(to_cell(cell) if isinstance(cell, str) else cell for cell in line)
        else:
            for line in lines:
                file.write(to_line(dict(zip(header, line, strict=True))) + "\n")


def is_per_image(path: Path) -> bool:
    """Whether a file is one that `write_per_image` wrote."""
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline(10_000_000)
        columns = list(json.loads(first)) if first.startswith("{") else first.strip().split(",")
    except (OSError, ValueError):
        return False
    return columns[:3] == COLUMNS and {*columns[3:]} <= {*ALL_METRICS}
