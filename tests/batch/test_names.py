"""No two photos share a text file or a sheet, and which is whose is the same in every run."""

import hashlib
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from captioner.batch.items import Item
from captioner.batch.names import Names, sidecar, stem_of, with_stems
from captioner.batch.sources import find_items

from .test_spec import do, png


def texts(paths, folder=None):
    """The photos that the paths name, each with its text file."""
    items = with_stems(find_items(map(str, paths)), folder)
    return {Path(item.name).name: sidecar(item, folder) for item in items}


def photos(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png())
    return folder


def test_a_suffix_is_kept_where_photos_would_share_a_text_file(tmp_path):
    folder = photos(tmp_path / "a", "x.jpg", "x.PNG", "y.jpg", "z", "z.webp", "w.jpg.png", "w.jpg")
    (folder / "y").mkdir()
    (folder / "y.json").write_text("{}")
    (folder / ".y.png").write_bytes(png())
    found = texts([folder, folder / "z"])
    assert {name: path.name for name, path in found.items()} == {
        "x.jpg": "x.jpg.txt", "x.PNG": "x.PNG.txt", "y.jpg": "y.txt", "z": "z.txt",
        "z.webp": "z.webp.txt", "w.jpg.png": "w.jpg.png.txt", "w.jpg": "w.txt",
    }  # fmt: skip
    for name, path in found.items():  # whichever are named, and whatever was done before
        path.write_text("A cat.")
        assert texts([folder / name])[name] == path
        mirrored = texts([folder / name], tmp_path / "out")[name]
        assert mirrored == tmp_path / "out" / path.name


@pytest.mark.parametrize(
    "name, stem",
    [
        ("a.jpg", "a"), ("A.JPEG", "A"), ("IMG.0001", "IMG.0001"), ("IMG.0002.tif", "IMG.0002"),
        ("image.php?id=1", "image.php?id=1"), ("a.jpg?w=9", "a.jpg?w=9"), ("plain", "plain"),
        (".jpg", ".jpg"), ("a b.webp", "a b"), ("photo.txt", "photo"),
    ],
)  # fmt: skip
def test_only_a_photos_suffix_is_left_away(name, stem):
    assert stem_of(name) == stem


@pytest.mark.parametrize("ending", [{}, {"output": "out"}])
def test_each_photo_has_its_caption_in_the_first_run_and_in_the_second(
    tmp_path, monkeypatch, ending
):
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos", "x.jpg", "x.png", "IMG.0001", "IMG.0002", "y.jpg")
    named = ("photos", "photos/IMG.0001", "photos/IMG.0002")
    options = {"paths": named, "format": "txt", **{k: Path(v) for k, v in ending.items()}}
    where = tmp_path / (ending.get("output") or "photos")
    tally, said = do(**options)
    assert (tally.captioned, tally.failed, tally.left_out) == (5, 0, 0), said
    names = sorted(p.name for p in where.glob("*.txt"))
    assert names == ["IMG.0001.txt", "IMG.0002.txt", "x.jpg.txt", "x.png.txt", "y.txt"]
    again, said = do(**options)
    assert (again.captioned, again.failed) == (0, 0), said
    assert again.left_out + again.before == 5
    (where / "x.png.txt").unlink()
    (where / "y.txt").write_text("")
    rest, said = do(**options | {"skip_captioned": True, "overwrite": bool(ending)})
    assert (rest.captioned, rest.failed, rest.left_out) == (2, 0, 3), said
    assert rest.summary().startswith(
        "2 captioned, 3 skipped (3 with a caption of their own: 3 in a text file)"
    )
    assert sorted(p.name for p in where.glob("*.txt")) == names
    assert {p.read_text() for p in where.glob("*.txt")} == {"A cat.\n"}


def test_photos_of_several_folders_meet_below_one(tmp_path):
    for folder in ("a", "b", "c"):
        photos(tmp_path / folder, "1.jpg")
    photos(tmp_path / "d", "1.png")
    paths = [tmp_path / name for name in ("a", "b/1.jpg", "d", "c")]
    for _ in range(2):
        items = list(with_stems(find_items(map(str, paths)), tmp_path / "out"))
        found = {i.name: sidecar(i, tmp_path / "out").name for i in items}
        assert list(found.values()) == ["1.txt", "1-2.txt", "1.png.txt", "1-3.txt"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_of_an_archive_and_addresses_do_not_share(tmp_path, kind):
    path = tmp_path / f"photos.{kind}"
    photos(tmp_path / "p", "x.jpg", "x.png", "a/x.jpg", "y.jpg")
    names = ["x.jpg", "x.png", "a/x.jpg", "y.jpg"]
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.write(tmp_path / "p" / name, name)
    else:
        with tarfile.open(path, "w") as archive:
            for name in names:
                archive.add(tmp_path / "p" / name, name)
    out = tmp_path / "out"
    items = with_stems(find_items([str(path)]), out)
    below = [sidecar(i, out).relative_to(out / path.name) for i in items]
    assert list(map(str, below)) == ["x.txt", "x.png.txt", "a/x.txt", "y.txt"]
    addresses = [f"http://host/image.php?id={n}" for n in (1, 22)]
    items = with_stems(find_items(addresses), out)
    below = [str(sidecar(i, out).relative_to(out)) for i in items]
    assert below == ["host/image.php?id=1.txt", "host/image.php?id=22.txt"]


def test_long_names_are_told_apart(tmp_path):
    long = "x" * 230
    addresses = [f"http://host/{long}{long}{end}.jpg" for end in ("a", "b")]
    items = list(with_stems(find_items(addresses), tmp_path))
    one, other = (sidecar(item, tmp_path) for item in items)
    assert one != other and max(len(os.fsencode(p.name)) for p in (one, other)) <= 255
    digest = hashlib.sha256(f"{long}{long}a".encode()).hexdigest()[:8]
    assert one.name.endswith(f"-{digest}.txt")
    one.parent.mkdir()
    one.write_text("")


def test_any_name_that_the_file_system_takes_has_its_text_file_and_sheet(tmp_path):
    names = [b"x" * n + b".jpg" for n in range(241, 252)]
    names += ["猫".encode() * 83 + b".jpg", b"y" * 255, b"z" * 250 + b".jpg", b"z" * 250 + b".png"]
    names += [b"\xff" * 250 + b".jpg", b"\xfe" * 255]
    folder = photos(tmp_path / "photos", *map(os.fsdecode, names))
    paths = tuple(str(folder / os.fsdecode(name)) for name in names)
    for options in ({"format": "txt"}, {"format": "txt", "output": tmp_path / "out"}):
        tally, said = do(paths=paths, sheets=tmp_path / "sheets", **options)
        assert (tally.captioned, tally.failed) == (len(names), 0), said
        assert len(list((tmp_path / "sheets").iterdir())) == len(names)
        where = options.get("output", folder)
        assert len(list(where.glob("*.txt"))) == len(names)
        again, said = do(paths=paths, **options)
        assert (again.captioned, again.failed) == (0, 0), said


def test_very_many_photos_of_one_name_are_numbered_quickly():
    names = Names()
    given = [names.one("image", "image.jpg") for _ in range(200_000)]
    assert given[:3] == ["image", "image-2", "image-3"] and len(set(given)) == len(given)
    assert names.one("image-7") == "image-7-2" and names.one("IMAGE") == "IMAGE-200001"


def test_a_file_without_a_place_has_no_text_file():
    assert sidecar(Item("http://host/a.jpg", url="http://host/a.jpg"), None) is None
