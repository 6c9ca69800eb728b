"""`captioner caption` as a job: killed, stopped, continued, refused, and told truly."""

import json
import os
import random
import signal
import time

import pytest

from captioner.metrics.readers import read_results
from tests.commands import run, start


def lines(path):
    return path.read_bytes().splitlines() if path.exists() else []


@pytest.fixture(scope="module")
def unbroken(tiny, forty, tmp_path_factory):
    """The records of a run that nothing happened to."""
    path = tmp_path_factory.mktemp("unbroken") / "captions.jsonl"
    done = run(
        "caption", forty, "-o", path, "--model", tiny, "--batch-size", 4, "--alternatives", 2
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout and "40 captioned" in done.stderr
    assert len({json.loads(line)["confidence"] for line in lines(path)}) > 5
    return lines(path)


def test_killed_six_times_the_result_is_the_same_to_the_byte(tiny, forty, unbroken, tmp_path):
    path = tmp_path / "captions.jsonl"
    chance = random.Random(1)
    arguments = ("caption", forty, "-o", path, "--model", tiny, "--batch-size", 4,
                 "--alternatives", 2, "-q")  # fmt: skip
    for kill in range(1, 7):
        process = start(*arguments)
        wanted = len(lines(path)) + chance.randrange(0, 6)
        while process.poll() is None and len(lines(path)) <= wanted:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.wait()
        if kill % 2 and len(lines(path)) > 2:  # and the disk had not all of the last write
            content = path.read_bytes()
            path.write_bytes(content[: -chance.randrange(1, 400)])
    assert run(*arguments).returncode == 0
    assert sorted(lines(path)) == sorted(unbroken)


def test_formats_are_made_from_one_job(tiny, forty, unbroken, tmp_path):
    """Captioned once; each further format costs nothing."""
    (tmp_path / "captions.jsonl").write_bytes(b"\n".join(unbroken) + b"\n")
    same = ("--model", tiny, "--alternatives", 2)
    for name in ("captions.csv", "captions.json"):
        done = run("caption", forty, "-o", tmp_path / name, *same)
        assert done.returncode == 0 and "0 captioned, 40 skipped (40 done before)" in done.stderr
        assert len(read_results(tmp_path / name)) == 40
    done = run("caption", forty, "-o", tmp_path, "--format", "txt", *same)
    assert "40 done before" in done.stderr


def test_ctrl_c_finishes_what_is_in_hand_and_the_next_run_the_rest(tiny, forty, unbroken, tmp_path):
    path = tmp_path / "captions.csv"
    arguments = ("caption", forty, "-o", path, "--model", tiny, "--batch-size", 4,
                 "--alternatives", 2)  # fmt: skip
    records = tmp_path / "captions.jsonl"
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start(*arguments)
        had = len(lines(records))
        while process.poll() is None and len(lines(records)) <= had:
            time.sleep(0.002)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        if process.returncode != 0:  # it may have been done by then
            assert process.returncode == 130, told
            assert b"Stopped; the same command continues." in told
            assert b"Traceback" not in told
            assert len(lines(path)) == 1 + len(lines(records)), "the table has what is there"
    assert run(*arguments).returncode == 0
    assert sorted(lines(records)) == sorted(unbroken)


def test_a_signal_before_the_first_photo_ends_at_once(tmp_path):
    os.mkfifo(names := tmp_path / "names")  # which nobody writes into: the job has not begun
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start("caption", "--from", names, "-o", tmp_path / "captions.jsonl")
        while not (tmp_path / "captions.run.json").exists():
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(number)
        _, told = process.communicate(timeout=5)
        assert process.returncode == 130 and told == b"Stopped.\n", told
        (tmp_path / "captions.run.json").unlink()


@pytest.mark.slow
def test_ordered_text_files_errors_and_statuses(tiny, forty, tmp_path):
    """One run with much in it: starting a process takes seconds."""
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    for i in (0, 1, 2):
        (photos / f"{i}.jpg").write_bytes((forty / f"0{i}.jpg").read_bytes())
    (photos / "sub" / "a b.jpg").write_bytes((forty / "00.jpg").read_bytes())
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff but not a photograph")
    (photos / "1.txt").write_text("My own words.")
    out = tmp_path / "out"
    listed = "\0".join(str(photos / n) for n in ("2.jpg", "broken.jpg", "sub", "gone.jpg", "0.jpg"))
    (tmp_path / "list").write_text(listed)
    done = run("caption", "--from", tmp_path / "list", "-o", out, "--format", "txt", "--ordered",
               "--model", tiny, "--heatmaps", tmp_path / "sheets")  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "3 captioned, 2 failed" in done.stderr and "broken.jpg" in done.stderr
    names = [json.loads(x)["file"] for x in lines(out / "captions.jsonl")]
    assert names == [str(photos / n) for n in ("2.jpg", "sub/a b.jpg", "0.jpg")]
    failed = {json.loads(x)["file"]: json.loads(x) for x in lines(out / "captions.errors.jsonl")}
    assert set(failed) == {str(photos / "broken.jpg"), str(photos / "gone.jpg")}
    assert "does not exist" in failed[str(photos / "gone.jpg")]["error"]
    assert sorted(p.name for p in out.glob("*.txt")) == ["0.txt", "2.txt", "a b.txt"]
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 3

    # Beside the photos: somebody's own words stay, and doing it again does nothing.
    beside = run("caption", photos, "--format", "txt", "--model", tiny)
    assert beside.returncode == 1 and "3 captioned, 1 skipped" in beside.stderr, beside.stderr
    assert (photos / "1.txt").read_text() == "My own words."
    assert (photos / "sub" / "a b.txt").read_text() == (out / "a b.txt").read_text()
    again = run("caption", photos, "--format", "txt", "--model", tiny, "-q")
    assert again.returncode == 1 and again.stderr.startswith("Error:") and "broken" in again.stderr

    all_bad = run("caption", photos / "broken.jpg", "--model", tiny)
    assert all_bad.returncode == 3


@pytest.mark.slow
def test_a_sentence_is_explained_in_the_terminal_in_json_and_on_a_sheet(tiny, forty, tmp_path):
    photo = sorted(forty.iterdir())[0]
    asked = ("caption", photo, "--explain", "a dog in the snow", "--model", tiny)
    done = run(*asked, "--heatmaps", tmp_path / "sheets")
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == f"{photo}\tA dog in the snow."
    assert [line.split()[1] for line in rest] == ["A", "dog", "in", "the", "snow"]
    assert all(line.split()[0].endswith("%") for line in rest)
    [sheet] = (tmp_path / "sheets").iterdir()
    attention = sheet.read_bytes()
    done = run(*asked, "--heatmaps", tmp_path / "sheets", "--maps", "evidence")
    assert done.returncode == 0, done.stderr
    assert attention.startswith(b"\x89PNG") and sheet.read_bytes() != attention
    content = json.loads(run(*asked, "--json").stdout)
    assert content["caption"] == "A dog in the snow." and len(content["words"]) == 5
    assert all(0 <= word["probability"] < 1 for word in content["words"])
    done = run("caption", photo, "--explain", "...", "--model", tiny)
    assert done.returncode == 2 and "the text has no words" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


@pytest.mark.slow
def test_two_runs_on_one_output(tiny, forty, tmp_path):
    path = tmp_path / "captions.jsonl"
    first = start("caption", forty, "-o", path, "--model", tiny, "-q")
    while not (tmp_path / "captions.run.json").exists():
        time.sleep(0.01)
    second = run("caption", forty, "-o", path, "--model", tiny)
    assert second.returncode == 2 and "Another run is writing" in second.stderr
    assert first.wait(60) == 0 and len(lines(path)) == 40


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--format", "xml"], "There is no format 'xml'"),
        (["--format", "csv"], "needs a file"),
        (["-o", "x.jsonl", "--json"], "--json prints"),
        (["-o", "{folder}"], "is a folder"),
        (["-o", "{folder}/00.jpg", "--format", "csv"], "was not made by this job"),
        (["-o", "x.jsonl", "--format", "csv"], "is a name for the jsonl format"),
        (["--format", "txt", "--write-metadata"], "Text files and metadata together"),
        (["--alt-text"], "--alt-text goes with --write-metadata"),
        (["--engine", "slurm"], "There is no engine 'slurm'"),
        (["--workers", "2"], "--workers goes with --engine ray"),
        (["--from", "nowhere.txt"], "The list nowhere.txt cannot be read"),
        (["--annotations", "nowhere.json"], "There is no file nowhere.json"),
        (["--time-limit", "0"], "--time-limit must be above 0"),
        (["{folder}/*.webp"], "No file fits"),
    ],
)
@pytest.mark.slow
def test_a_senseless_job_is_a_sentence_and_leaves_nothing(
    forty, tmp_path, monkeypatch, capsys, arguments, sentence
):
    from captioner import cli

    monkeypatch.chdir(tmp_path)
    filled = [a.replace("{folder}", str(forty)) for a in arguments]
    monkeypatch.setattr("sys.argv", ["captioner", "caption", str(forty), *filled])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code in (1, 2)
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_a_sentence(tmp_path, monkeypatch, capsys):
    from captioner import cli

    (tmp_path / "notes.txt").write_text("")
    monkeypatch.setattr("sys.argv", ["captioner", "caption", str(tmp_path)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    assert "There are no photos in" in (told := capsys.readouterr().err)
    assert "1 not a photo" in told
