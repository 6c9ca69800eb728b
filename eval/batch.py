"""How a folder job does on this machine: speed beside a plain loop, kills, memory.

    python -m eval batch                               # 1,000 JPEGs of 12 megapixels, three ways
    python -m eval batch --photos 100 --images ~/Pictures --keep /tmp/large
    python -m eval batch runtimes                      # torch beside OpenVINO
    python -m eval batch cores                         # on 1, 2, 4 ... of the cores
    python -m eval batch kills --kills 100             # killed at random moments, then compared
    python -m eval batch memory --photos 100000        # peak memory of a long job
    python -m eval batch journal --photos 1000000      # going on with a list of which all is done

Speed: the photos are made of real ones (scikit-image's, or a folder's). The plain loop is what one
writes in ten lines: PIL opens and resizes, 32 at a time go to the same model, beam 3. It, the
folder job and `Captioner.stream` run in one process on the same files, already in the page cache,
and take turns.

Kills and memory use a tiny model with random weights, and `captioner caption` as a process.
"""

import argparse
import contextlib
import io
import itertools
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from captioner.batch.engine import EngineConfig
from captioner.errors import CaptionerError
from captioner.exits import run
from captioner.texts import to_line

from .batch_speed import by_cores, by_runtimes, speed
from .common import add_machine, parser


def main(arguments: list[str] | None = None) -> int:
    made = parser("batch", __doc__)
    made.add_argument("what", nargs="?", default="speed", choices=tuple(MEASURES))
    made.add_argument(
        "--photos", type=int, help="default: 1,000, 300 for kills, 100,000, 1,000,000"
    )
    made.add_argument("--images", type=Path, help="photos to make others of")
    made.add_argument("--keep", type=Path, help="make the photos here, and use them again")
    made.add_argument("--batch-size", type=int, default=EngineConfig.batch_size)
    made.add_argument("--rounds", type=int, default=2, help="turns that each way takes")
    made.add_argument("--kills", type=int, default=100)
    made.add_argument("--seed", type=int, default=0)
    add_machine(made)
    options = made.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        return run(lambda: MEASURES[options.what](options, Path(folder)))


# Kills --------------------------------------------------------------------------------------------


def _kills(options: argparse.Namespace, folder: Path) -> int:
    photos = folder / "photos"
    make_tiny(photos, options.photos or 300)
    whole = folder / "whole.jsonl"
    model = save_tiny_model(folder / "model")
    began = time.monotonic()
    subprocess.run(caption_command(photos, whole, model), check=True)
    length = time.monotonic() - began
    expected = sorted(whole.read_bytes().splitlines())
    chance = random.Random(options.seed)
    kills = jobs = wrong = 0
    print(f"The unbroken run: {len(expected)} photos in {length:.1f} s")
    while kills < options.kills:
        jobs += 1
        path = folder / f"job-{jobs}.jsonl"
        while True:
            process = subprocess.Popen(caption_command(photos, path, model))
            if kills >= options.kills:
                process.wait()
                break
            try:
                process.wait(timeout=chance.uniform(0, length))
                break  # it was done before it was to be killed
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        same = sorted(path.read_bytes().splitlines()) == expected
        wrong += not same
        told = "the same bytes" if same else "DIFFERENT"
        print(f"job {jobs}: done after {kills} kills in all; sorted: {told}", flush=True)
    print(f"{kills} kills, {jobs} jobs, {jobs - wrong} of them equal to the unbroken run")
    return 1 if wrong else 0


# Memory -------------------------------------------------------------------------------------------


def _memory(options: argparse.Namespace, folder: Path) -> int:
    photos = options.photos or 100_000
    mark = min(10_000, photos // 3)
    first, last = measure_memory(save_tiny_model(folder / "model"), folder, photos, mark)
    print(f"Peak memory after {mark:,} photos {first:.0f} MB, after {photos:,} {last:.0f} MB: "
          f"grown by {last - first:.0f} MB")  # fmt: skip
    return 0


def measure_memory(model: Path, folder: Path, photos: int, mark: int) -> tuple[float, float]:
    """Peak memory (MB) of a job and its decoding processes together, once `mark` of its tiny photos
    are captioned, and once all are. The photos lie in one tar.

    The end of the process is left out: as the interpreter takes torch down it touches pages of its
    libraries that no photo needs, over 100 MB of them.
    """
    shard = folder / "photos.tar"
    squares = list(_tiny(64))
    with tarfile.open(shard, "w") as tar:
        for number in range(photos):
            member = tarfile.TarInfo(f"{number:07}.jpg")
            data = squares[number % len(squares)]
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    path = folder / "captions.jsonl"
    process = subprocess.Popen(caption_command(shard, path, model))
    first = last = 0.0
    done, read = 0, 0
    while process.poll() is None and done < photos:
        time.sleep(0.05)
        with contextlib.suppress(OSError):  # not begun, or just ended
            last = max(last, _peak(process.pid))
            with path.open("rb") as stream:
                stream.seek(read)
                while block := stream.read(1 << 20):
                    done, read = done + block.count(b"\n"), read + len(block)
        if done >= mark and not first:
            first = last
    if process.wait() or not first:
        raise CaptionerError(f"The job ended with status {process.returncode}.")
    return first, last


# Journal ------------------------------------------------------------------------------------------

PLANNING = """
import resource
from pathlib import Path
from captioner.batch.job import plan
from captioner.batch.journal import Journal
from captioner.batch.progress import Tally
from captioner.batch.sources import find_items, read_list
journal, tally = Journal(Path("captions.jsonl")), Tally()
assert not list(plan(find_items(read_list("list"), known=journal.done), 16, journal, tally))
used = resource.getrusage(resource.RUSAGE_SELF)
# Not ru_maxrss, which begins with that of the process that started this one.
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(tally.before, used.ru_utime, used.ru_stime, int(peak) * 1024 / 1e6)
"""


def _journal(options: argparse.Namespace, folder: Path) -> int:
    photos = options.photos or 1_000_000
    size, user, system, peak = measure_journal(folder, photos)
    print(f"{photos:,} photos: records of {size / 1e6:,.1f} MB; going on takes {user:.1f} s of "
          f"processor time and {system:.1f} s of the system's, and {peak:.0f} MB")  # fmt: skip
    return 0


def measure_journal(folder: Path, photos: int) -> tuple[int, float, float, float]:
    """The planning of a job by a list, of which all is done: the bytes of its records, user and
    system time (s), and memory at the most (MB). Without importing torch."""
    caption = "A man rides a wave on a board."
    words = [{"text": word, "probability": 0.5} for word in caption.rstrip(".").split()]
    about = {
        "image_id": None, "caption": caption, "confidence": 0.5, "words": words,
        "alternatives": [], "model": "builtin", "version": "1", "width": 640, "height": 480,
        "blank": False,
    }  # fmt: skip
    rest = to_line(about).removeprefix("{")
    path = folder / "captions.jsonl"
    with path.open("w") as journal, (folder / "list").open("w") as names:
        for number in range(photos):
            name = f"/photos/{number // 1000:04}/COCO_val2014_{number:012}.jpg"
            names.write(name + "\n")
            journal.write(f'{{"file": "{name}", {rest}\n')
    done = subprocess.run(
        [sys.executable, "-c", PLANNING], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
    )  # fmt: skip
    if done.returncode:
        raise CaptionerError(f"The job could not be planned: {done.stderr.strip()}")
    before, user, system, peak = map(float, done.stdout.split())
    assert before == photos
    return path.stat().st_size, user, system, peak


MEASURES: dict[str, Callable[[argparse.Namespace, Path], int]] = {
    "speed": speed, "runtimes": by_runtimes, "cores": by_cores, "kills": _kills, "memory": _memory,
    "journal": _journal,
}  # fmt: skip


def _peak(pid: int) -> float:
    """Peak resident memory of a process and its children, in MB."""
    total = 0.0
    for one in (pid, *_children(pid)):
        status = Path(f"/proc/{one}/status").read_text()
        line = next((x for x in status.splitlines() if x.startswith("VmHWM")), "VmHWM: 0 kB")
        total += int(line.split()[1]) * 1024 / 1e6
    return total


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(c) for task in tasks for c in (task / "children").read_text().split()]


# What both need -----------------------------------------------------------------------------------


def caption_command(photos: Path, output: Path, model: Path) -> list[str]:
    return [
        sys.executable, "-m", "captioner.cli", "caption", str(photos), "-o", str(output),
        "--model", str(model), "--quiet",
    ]  # fmt: skip


def _tiny(count: int) -> Iterator[bytes]:
    chance = np.random.default_rng(0)
    for _ in range(count):
        small = Image.fromarray(chance.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        stream = io.BytesIO()
        small.resize((64, 48), Image.Resampling.BICUBIC).save(stream, "JPEG")
        yield stream.getvalue()


def make_tiny(folder: Path, count: int) -> None:
    folder.mkdir()
    for number, data in enumerate(itertools.islice(_tiny(count), count)):
        (folder / f"{number:05}.jpg").write_bytes(data)


def save_tiny_model(folder: Path) -> Path:
    """The model of the tests: random weights, a second or so for three hundred photos."""
    from tests.conftest import tiny_model

    model = tiny_model()
    model.config.about = {"name": "tiny", "version": "1"}
    model.save(folder)
    return folder
