"""No command replaces what it reads, and a person's other files only when it is told to."""

import os
from pathlib import Path

import pytest
from PIL import Image

from captioner.errors import CaptionerError
from captioner.outputs import Guard, begins, is_sheet, is_text, sheet_mark


@pytest.fixture
def refs(tmp_path):
    path = tmp_path / "refs.json"
    path.write_text("{}")
    return path


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_replaced_by_whatever_name(refs, tmp_path, monkeypatch, overwrite):
    hard, soft, folder = tmp_path / "hard.json", tmp_path / "soft.json", tmp_path / "linked"
    hard.hardlink_to(refs)
    soft.symlink_to(refs)
    folder.symlink_to(tmp_path, target_is_directory=True)
    guard = Guard([refs], overwrite=overwrite)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in (refs, hard, soft, folder / "refs.json", Path("refs.json"),
                 Path("sub/../refs.json")):  # fmt: skip
        with pytest.raises(CaptionerError, match=r"--report would replace .* is an input"):
            guard.check(name, "--report", ours=lambda path: True)


def test_another_file_is_replaced_only_with_overwrite_or_when_it_is_ours(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("image_id,CIDEr-D\n1,2\n")
    ours = begins(b"image_id,CIDEr-D")
    Guard().check(tmp_path / "new.csv", "--per-image")
    with pytest.raises(CaptionerError, match=r"scores\.csv.* was not made by .*--overwrite"):
        Guard().check(path, "--per-image")
    Guard().check(path, "--per-image", ours)
    Guard(overwrite=True).check(path, "--per-image")
    path.write_text("my own\n")
    with pytest.raises(CaptionerError, match="was not made by"):
        Guard().check(path, "--per-image", ours)
    path.write_text("")
    Guard().check(path, "--per-image", ours)  # nothing is lost


def test_a_photo_below_a_folder_is_an_input(tmp_path):
    photo = tmp_path / "a.png"
    photo.write_bytes(b"\x89PNG\0")
    asked = []

    def more():
        asked.append(1)
        return [photo]

    guard = Guard([tmp_path], overwrite=True, more=more)
    guard.check_each(tmp_path / "new.png", "The contact sheet of b.jpg")
    assert not asked, "the folder is looked through only when something stands in the way"
    for _ in range(2):
        with pytest.raises(CaptionerError, match="is an input"):
            guard.check_each(photo, "The contact sheet of b.jpg", is_sheet)
    assert len(asked) == 1
    with pytest.raises(CaptionerError, match="is an input"):
        Guard().check_each(photo, "The text file of a.png", is_text, photo=photo)


def test_two_outputs_do_not_share_a_file(tmp_path):
    guard = Guard(overwrite=True)
    guard.check(tmp_path / "x.json", "--report")
    with pytest.raises(CaptionerError, match="--report and --save-df both name"):
        guard.check(tmp_path / "." / "x.json", "--save-df")
    (tmp_path / "x.json").write_text("written by now")
    (tmp_path / "x.txt").hardlink_to(tmp_path / "x.json")
    with pytest.raises(CaptionerError, match="which is that of --report"):
        guard.check_each(tmp_path / "x.txt", "The text file of x.jpg")
    guard.check(tmp_path / "x.json", "--report")


def test_folders_pipes_and_devices_stay(tmp_path):
    guard = Guard(overwrite=True)
    with pytest.raises(CaptionerError, match="is a folder"):
        guard.check(tmp_path, "--report")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CaptionerError, match="no ordinary file"):
        guard.check(tmp_path / "pipe", "--report")


def test_what_is_ours_is_told_by_its_content(tmp_path):
    picture = Image.new("RGB", (40, 30))
    picture.save(tmp_path / "theirs.png")
    picture.save(tmp_path / "ours.png", pnginfo=sheet_mark())
    picture.save(tmp_path / "photo.txt", "JPEG")
    (tmp_path / "caption.txt").write_text("Ein Hund läuft.\n", encoding="latin-1")
    assert is_sheet(tmp_path / "ours.png") and not is_sheet(tmp_path / "theirs.png")
    assert is_text(tmp_path / "caption.txt") and not is_text(tmp_path / "photo.txt")
    assert not is_text(tmp_path / "nowhere.txt")
