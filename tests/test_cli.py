"""The command as a person meets it: a process, its two streams and its exit status."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from captioner.outputs import is_sheet
from captioner.samples import sample_photos

from .commands import run


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A saved tiny model, so that these tests need no model in the box."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    model.config.about = {"name": "tiny", "version": "1"}
    model.save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    path = tmp_path / "photos"
    (path / "sub").mkdir(parents=True)
    for name, colour in (("b.jpg", "red"), ("a.png", "blue"), ("sub/c.webp", "green")):
        photo = Image.new("RGB", (120, 80), colour)
        photo.paste("white", (20, 10, 70, 50))
        photo.save(path / name)
    return path


@pytest.mark.slow
def test_a_folder_gives_one_line_a_photo(folder, photos):
    done = run("caption", photos, "--model", folder)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [
        str(photos / name) for name in ("a.png", "b.jpg", "sub/c.webp")
    ]
    assert all(len(line) == 2 and line[1] for line in lines)
    assert "3 captioned" in done.stderr


@pytest.mark.slow
def test_json_has_everything(folder, photos):
    done = run("caption", photos / "b.jpg", "--json", "--alternatives", 2, "--model", folder)
    (line,) = done.stdout.splitlines()
    data = json.loads(line)
    assert set(data) == {
        "file", "image_id", "caption", "confidence", "words", "alternatives", "model", "version",
        "width", "height", "blank",
    }  # fmt: skip
    assert data["file"] == str(photos / "b.jpg")
    assert (data["width"], data["height"]) == (120, 80)
    assert (data["model"], data["version"], data["image_id"]) == ("tiny", "1", None)
    assert all(set(w) == {"text", "probability"} for w in data["words"])
    assert len(data["alternatives"]) == 2


@pytest.mark.slow
def test_a_bad_photo_stops_nothing_and_is_told(folder, photos):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff but not a photograph")
    done = run("caption", photos, "--model", folder)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3
    assert "broken.jpg" in done.stderr and "Traceback" not in done.stderr
    assert "3 captioned, 1 failed" in done.stderr


@pytest.mark.slow
def test_contact_sheets_are_written(folder, photos, tmp_path):
    (photos / "sub" / "b.jpg").write_bytes((photos / "b.jpg").read_bytes())
    sheets = tmp_path / "sheets" / "deep"
    done = run("caption", photos, "--heatmaps", sheets, "--model", folder)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in sheets.iterdir()) == ["a.png", "b-2.png", "b.png", "c.png"]
    with Image.open(sheets / "a.png") as sheet:
        assert sheet.width > 300
    assert is_sheet(sheets / "a.png")


@pytest.mark.slow
def test_settings_reach_the_search(folder, photos):
    photo = photos / "b.jpg"
    with_prefix = run("caption", photo, "--prefix", "Two dogs", "--model", folder).stdout
    assert with_prefix.split("\t")[1].startswith("Two dogs")
    drawn = [
        run("caption", photo, "--sample", "--seed", seed, "--model", folder).stdout
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    short = run("caption", photo, "--max-length", 2, "--json", "--model", folder)
    assert len(json.loads(short.stdout)["words"]) <= 2


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["caption"], "Name at least one photograph"),
        (["caption", "nowhere.jpg"], "nowhere.jpg"),
        (["caption", "{photo}", "--beams", "0"], "--beams must be at least 1"),
        (["caption", "{photo}", "--device", "tpu9"], "tpu9"),
        (["caption", "{photo}", "--dtype", "int3"], "int3"),
        (["caption", "{photo}", "--model", "nowhere"], "nowhere"),
        (["caption", "{photo}", "--max-length", "500"], "--max-length"),
        (["caption", "{photo}", "--batch-size", "0"], "--batch-size"),
        (["caption", "{photo}", "--beams", "many"], "--beams"),
        (["caption", "{photo}", "--alternatives", "9"], "beam"),
        (["info", "--model", "nowhere"], "nowhere"),
        (["no-such-command"], "no-such-command"),
    ],
)
@pytest.mark.slow
def test_a_mistake_is_a_sentence(folder, photos, arguments, sentence):
    arguments = [a.replace("{photo}", str(photos / "b.jpg")) for a in arguments]
    if "--model" not in arguments and arguments[0] != "no-such-command":
        arguments += ["--model", str(folder)]
    done = run(*arguments)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.slow
def test_odd_file_names_come_out_as_they_are(folder, photos):
    names = ["tab\there.jpg", "ünïcode 猫.jpg", "new'quote\".jpg", "-dash.jpg"]
    for name in names:
        (photos / name).write_bytes((photos / "b.jpg").read_bytes())
    done = run("caption", photos, "--json", "--model", folder)
    files = {json.loads(line)["file"] for line in done.stdout.splitlines()}
    assert {str(photos / name) for name in names} <= files


@pytest.mark.slow
def test_a_closed_pipe_is_quiet(folder, photos):
    command = f"{sys.executable} -m captioner.cli caption {photos} --model {folder} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1 and "Traceback" not in done.stderr


@pytest.mark.slow
def test_info_says_what_it_is(folder):
    done = run("info", "--model", folder)
    assert done.returncode == 0
    for word in ("tiny 1", "million parameters", "patch grid", "cores", "trained on"):
        assert word in done.stdout
    data = json.loads(run("info", "--json", "--model", folder).stdout)
    assert data["parameters"] > 0 and data["machine"]["cores"] >= 1


def test_help_shows_examples():
    for command in ("caption", "info", "score"):
        done = run(command, "--help")
        assert done.returncode == 0 and f"captioner {command}" in done.stdout


def test_every_option_has_a_sentence_that_says_what_it_does():
    from typer.main import get_command

    from captioner.cli import app

    for name, command in get_command(app).commands.items():
        for option in command.params:
            words, bracket, _ = (option.help or "").partition(" [")
            assert bracket or name != "caption" or not option.name or option.name == "paths"
            assert words[:1].isupper() and words.endswith("."), (name, option.name, words)
            assert len(words.split()) >= 4, (name, option.name, words)
            assert not words.startswith(("With ", "Of ", "In ", "Default")), (name, option.name)


def test_the_samples_are_photographs_of_an_installed_package():
    pytest.importorskip("skimage")
    assert len(sample_photos()) >= 5
