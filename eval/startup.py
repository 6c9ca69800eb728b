"""One photograph from process start to the printed caption, beside importing torch alone.

    python -m eval startup                   # the model in the box, a photograph of scikit-image's
    python -m eval startup --images ~/Pictures --rounds 9 --json

Both are processes of their own and take turns, round after round. Medians of: wall time, CPU time
(user and system, of the process and those it waited for), and peak memory. Photographs are decoded
in a second, small process, whose memory is not in the peak.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from captioner.errors import CaptionerError
from captioner.exits import run

from .common import add_json, add_photos, parser, photos_of, print_json

# This process imports no torch: what it takes would count in its children's peak memory, which
# Linux carries over from the process that starts them.


class Cost(NamedTuple):
    """wall, cpu: seconds. peak: MB."""

    wall: float
    cpu: float
    peak: float


def main(arguments: list[str] | None = None) -> int:
    made = parser("startup", __doc__)
    add_photos(made)
    made.add_argument("--rounds", type=int, default=5)
    add_json(made)
    options = made.parse_args(arguments)
    return run(lambda: _startup(options))


def _startup(options: argparse.Namespace) -> None:
    figures = measure(photos_of(options.images)[0], options.rounds)
    if options.json:
        print_json(figures)
        return
    print(f"{'medians of ' + str(options.rounds):<20}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}")
    for name, values in figures.items():
        digits = (2, 2, 2) if name == "ratio" else (2, 2, 0)
        wall, cpu, peak = (f"{v:.{d}f}" for v, d in zip(values.values(), digits, strict=True))
        print(f"{name:<20}{wall:>8}{cpu:>8}{peak:>9}")


def measure(photo: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The medians of each contestant, and what a caption takes as a multiple of the import."""
    contestants = {
        "import torch": ["-c", "import torch"],
        "captioner caption": ["-m", "captioner.cli", "caption", str(photo)],
    }
    found: dict[str, list[Cost]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, command in contestants.items():
            found[name].append(cost_of([sys.executable, *command]))
    medians = {n: Cost(*map(statistics.median, zip(*c, strict=True))) for n, c in found.items()}
    torch, caption = medians.values()
    ratio = Cost(*(mine / its for mine, its in zip(caption, torch, strict=True)))
    return {name: cost._asdict() for name, cost in {**medians, "ratio": ratio}.items()}


def cost_of(command: list[str]) -> Cost:
    """What a command takes as a process of its own. Raises CaptionerError when it fails."""
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        # wait4 tells of this one process; Linux counts its memory in KiB, macOS in bytes.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        error = errors.read().decode(errors="replace").strip()
    if process.returncode:
        raise CaptionerError(f"{' '.join(command)} failed: {error}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6)


if __name__ == "__main__":
    sys.exit(main())
