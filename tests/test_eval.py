"""`python -m eval coco`: it scores as `captioner score` does, resumes, and keeps models apart."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from eval import coco, speed, startup
from eval.confidence import (
    calibration,
    confirmed,
    rank_correlation,
    reliability,
    sentences,
    words_by_probability,
    write_picture,
)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    model.config.about = {"name": "tiny"}
    model.save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    """Five photos and their references, one name as Karpathy's file gives it."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for i in range(5):
        pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png"})
        for k, text in enumerate((f"photo number {i} of a dog", "a dog in the snow")):
            annotations.append({"id": 2 * i + k, "image_id": i, "caption": text})
    content = {"images": images, "annotations": annotations}
    (tmp_path / "captions.json").write_text(json.dumps(content))
    return tmp_path


def run(photos, folder, *more):
    return coco.main(
        [
            "--model", str(folder), "--images", str(photos / "images"),
            "--annotations", str(photos / "captions.json"), "--out", str(photos / "out"), *more,
        ]
    )  # fmt: skip


@pytest.mark.slow
def test_it_leaves_results_scores_and_a_report(photos, folder, capsys):
    assert run(photos, folder) == 0
    results = json.loads((photos / "out" / "results.json").read_text())
    assert [set(r) for r in results] == [{"image_id", "caption"}] * 5
    scores = json.loads((photos / "out" / "scores.json").read_text())
    assert scores["images"] == 5 and "CIDEr-D" in scores["metrics"]
    assert "<html" in (photos / "out" / "report.html").read_text()
    # All of its captions score 0: there is no order to compare with.
    assert scores["confidence"]["rank_correlation"] is None
    assert len(scores["confidence"]["groups"]) == 5
    assert not (photos / "out" / "confidence.svg").exists()
    printed = capsys.readouterr().out
    assert "CIDEr-D" in printed and "confidence temperature of 1.00" in printed
    assert sum(group["words"] for group in scores["confidence"]["words"]) > 0

    from typer.testing import CliRunner

    from captioner.cli import app

    arguments = [photos / "out" / "results.json", "-r", photos / "captions.json", "--json"]
    done = CliRunner().invoke(app, ["score", *map(str, arguments)])
    assert json.loads(done.stdout)["metrics"] == scores["metrics"]


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(photos, folder, monkeypatch):
    monkeypatch.setattr(coco, "BATCH", 2)
    assert run(photos, folder) == 0
    whole = (photos / "out" / "results.json").read_bytes()
    journal = photos / "out" / "captions.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + lines[2][:17])  # killed while it wrote
    seen = []
    keep = coco.LocalEngine.run

    def spied(engine, batches, stop):
        for outcomes in keep(engine, batches, stop):
            seen.extend(Path(one.item.name).name for one in outcomes)
            yield outcomes

    monkeypatch.setattr(coco.LocalEngine, "run", spied)
    assert run(photos, folder) == 0
    done = {Path(json.loads(line)["file"]).name for line in lines[:2]}
    assert sorted(seen) == sorted({f"{i}.png" for i in range(5)} - done)
    assert (photos / "out" / "results.json").read_bytes() == whole
    assert len(journal.read_bytes().splitlines()) == 5
    assert run(photos, folder) == 0 and len(seen) == 3  # nothing is left to do


@pytest.mark.slow
def test_photos_without_references_are_not_captioned(photos, folder):
    content = json.loads((photos / "captions.json").read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] < 3]
    (photos / "captions.json").write_text(json.dumps(content))
    (photos / "images" / "4.png").unlink()
    assert run(photos, folder) == 0
    assert len((photos / "out" / "captions.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_photo_without_a_caption_is_no_score(photos, folder, capsys):
    (photos / "images" / "2.png").write_bytes(b"no photo")
    assert run(photos, folder) == 2
    assert "1 photographs have no caption" in capsys.readouterr().err
    assert not (photos / "out" / "scores.json").exists()


def test_the_annotations_are_never_replaced(photos, folder, capsys):
    (photos / "out").mkdir()
    (photos / "captions.json").rename(photos / "out" / "results.json")
    before = (photos / "out" / "results.json").read_bytes()
    (photos / "captions.json").symlink_to(photos / "out" / "results.json")
    assert run(photos, folder) == 2
    assert "is an input" in capsys.readouterr().err
    assert (photos / "out" / "results.json").read_bytes() == before
    (photos / "captions.json").unlink()
    (photos / "captions.json").write_bytes(before)
    assert run(photos, folder) == 2
    assert "holds another results.json" in capsys.readouterr().err
    assert (photos / "out" / "results.json").read_bytes() == before


@pytest.mark.slow
def test_results_of_another_setting_are_not_mixed_in(photos, folder, capsys):
    assert run(photos, folder) == 0
    assert run(photos, folder, "--beams", "1") == 2
    assert "another model or setting" in capsys.readouterr().err
    assert run(photos, folder) == 0
    (photos / "out" / "captions.run.json").unlink()
    assert run(photos, folder) == 2
    assert "another model or setting" in capsys.readouterr().err


def test_missing_photos_are_a_sentence(photos, folder, capsys):
    (photos / "images" / "3.png").unlink()
    assert run(photos, folder) == 2
    assert "1 of 5 photographs" in capsys.readouterr().err


@pytest.mark.slow
def test_speed_measures_this_machine(photos, folder, capsys):
    arguments = ["--model", str(folder), "--images", str(photos / "images"), "--photos", "5"]
    assert speed.main([*arguments, "--rounds", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["one_photo_peak_mb"] > 50
    assert figures["batch"]["photos"] == 5 and figures["batch"]["photos_per_second"] > 0


def test_startup_says_what_failed(photos, monkeypatch, capsys):
    monkeypatch.setattr("sys.executable", "false")
    assert startup.main(["--images", str(photos), "--rounds", "1"]) == 2
    assert "false -c import torch failed" in capsys.readouterr().err


def test_confidence_is_judged_by_the_order_of_the_captions(tmp_path):
    rng = np.random.default_rng(0)
    sure = rng.random(200)
    assert rank_correlation(sure, np.exp(5 * sure)) == pytest.approx(1)
    assert rank_correlation(sure, -sure) == pytest.approx(-1)
    assert np.isnan(rank_correlation(sure, np.ones(200)))
    # Equal values share their ranks: 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
    tied = rank_correlation(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4]))
    assert tied == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    found = reliability(list(sure), sure**2)
    assert found["rank_correlation"] == 1 and found["interval"] == [1, 1]
    assert [g["captions"] for g in found["groups"]] == [20] * 10
    means = [group["CIDEr-D"] for group in found["groups"]]
    assert means == sorted(means)
    write_picture(tmp_path / "curve.svg", "a <model>", found)
    picture = (tmp_path / "curve.svg").read_text()
    assert picture.count("<circle") == 10 and "a &lt;model&gt;" in picture and "1.00" in picture
    ElementTree.fromstring(picture)
    low, high = reliability(list(sure), rng.random(200))["interval"]
    assert low < 0 < high
    assert reliability([0.5, None], np.ones(2)) == {}  # a server need not say


def test_a_word_is_confirmed_where_people_used_it_of_that_photo():
    records = [
        {"words": [{"text": t, "probability": p} for t, p in words]}
        for words in (
            [("A", 0.95), ("dog's", 0.6), ("t-shirt", 0.1)],
            [("Dog", 0.2), ("sleeps", 0.5), ("fire", 1.0)],
        )
    ]
    people = [["the dog's hat", "a t-shirt"], ["A dog is asleep.", "by the fire!"]]
    found = confirmed(records, people)
    assert [one.tolist() for one in found] == [[True, True, True], [True, False, True]]
    groups = words_by_probability(records, found)
    assert [(g["from"], g["words"], g["confirmed"]) for g in groups] == [
        (0.0, 1, 1.0), (0.2, 1, 1.0), (0.5, 2, 0.5), (0.9, 2, 1.0),
    ]  # fmt: skip
    records[0]["words"][0]["probability"] = None  # a server need not say
    assert words_by_probability(records, found) == []


@pytest.mark.parametrize("made_with", [1.0, 1.25])
def test_the_temperature_of_confidence_is_found_again(made_with):
    rng = np.random.default_rng(0)
    plain = rng.uniform(0.3, 0.95, 4000)
    shares = rng.binomial(10, plain ** (1 / 1.6)) / 10
    found = calibration(list(plain ** (1 / made_with)), shares, made_with)
    low, high = found["interval"]
    assert found["temperature"] == pytest.approx(1.6, abs=0.04) and low < 1.6 < high < low + 0.15
    assert found["error"] > 0.05 > 0.02 > found["error_with_it"]
    again = calibration(list(plain ** (1 / 1.6)), shares, 1.6)
    assert again["temperature"] == found["temperature"], "fitted anew, it stays"
    [line] = sentences({"calibration": found}, made_with)
    assert f"temperature of {made_with:.2f}" in line and f"{found['temperature']:.2f} (" in line
