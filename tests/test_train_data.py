"""Data sets as people have them: COCO, Karpathy's file, tar shards; and `prepare`, which checks."""

import json
import os
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.annotations import AnnotatedImage
from captioner.encoders import EncoderConfig, build_encoder
from captioner.errors import DataError
from train import augment
from train.__main__ import main
from train.augment import FIRST_RANDOM_VIEW, Views, flipped
from train.data import load_all, load_examples, load_shards
from train.features import FeatureCache
from train.feed import LiveFeed
from train.shards import write_shards


@pytest.fixture
def folder(tmp_path):
    """Six photos: one broken, one missing, one without a caption."""
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / f"{i}.jpg")
    whole = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(whole[: len(whole) // 2])
    images = [{"id": 10 + i, "file_name": f"{i}.jpg"} for i in range(6)]
    annotations = [
        {"id": i, "image_id": 10 + i, "caption": f"photo number {i}"} for i in range(6) if i != 4
    ]
    (tmp_path / "captions.json").write_text(
        json.dumps({"images": images, "annotations": annotations})
    )
    return tmp_path


def karpathy(folder):
    splits = ["train", "restval", "val", "test", "train"]
    content = {
        "dataset": "coco",
        "images": [
            {
                "filepath": "", "filename": f"{i}.jpg", "cocoid": 10 + i, "imgid": i,
                "split": split, "sentences": [{"raw": f"photo {i}."}, {"raw": f"again {i}"}],
            }
            for i, split in enumerate(splits)
        ],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder / "dataset.json"


def test_karpathys_file_gives_its_splits(folder):
    path = karpathy(folder)
    assert [e.image_id for e in load_examples(folder, path)] == [10, 11, 14]
    assert [e.image_id for e in load_examples(folder, path, split="val")] == [12]
    found = load_examples(folder, f"{path}:test")
    assert [(e.image_id, e.captions) for e in found] == [(13, ("photo 3.", "again 3"))]


def test_a_broken_karpathy_file_is_a_sentence(folder):
    path = folder / "dataset.json"
    path.write_text(json.dumps({"images": [{"sentences": [], "split": "train"}]}))
    with pytest.raises(DataError, match=r"dataset\.json: image 1 needs .*Karpathy"):
        load_examples(folder, path)


def test_prepare_says_how_many_and_which(folder, capsys):
    words = ["prepare", "--images", folder, "--annotations", folder / "captions.json"]
    words += ["--report", folder / "report.json", "--shards-out", folder / "shards"]
    words += ["--per-shard", 2, "--tokenizer", folder / "tokenizer.json"]
    assert main([str(w) for w in words]) == 1  # something is wrong, and it says so
    out = capsys.readouterr().out
    assert "3 photographs with 3 captions" in out
    assert "1 missing" in out and "1 unreadable" in out and "1 uncaptioned" in out
    report = json.loads((folder / "report.json").read_text())
    assert report["missing"] == [str(folder / "5.jpg")] and "3.jpg" in report["unreadable"][0]
    assert report["uncaptioned"] == [str(folder / "4.jpg")]
    assert sorted(p.name for p in (folder / "shards").iterdir()) == [
        "shard-00000.tar", "shard-00001.tar",
    ]  # fmt: skip
    assert (folder / "tokenizer.json").is_file()


def test_photos_in_shards_are_the_photos_themselves(folder):
    examples = load_examples(folder, folder / "captions.json", keep=True)[:3]
    samples = [(e.file.suffix, e.file.read_bytes(), e.image_id, e.captions) for e in examples]
    assert write_shards(samples, folder / "shards", per_shard=2) == 3
    found = load_shards(folder / "shards")
    assert [(e.image_id, e.captions) for e in found] == [(e.image_id, e.captions) for e in examples]
    assert [e.photo for e in found] == [e.file.read_bytes() for e in examples]
    one, other = Views(found, 32), Views(examples, 32)
    for key in ((0, 0), (1, 1), (2, FIRST_RANDOM_VIEW + 5)):
        assert torch.equal(one[key], other[key])


def test_shards_of_others_are_read(tmp_path):
    """WebDataset's own habits: .txt captions, .jpeg, folders in names, other files beside."""
    photo = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8), "red").save(photo)
    text = tmp_path / "a.txt"
    text.write_text("a red square\n\nred\n")
    with tarfile.open(tmp_path / "others.tar", "w") as tar:
        tar.add(photo, "part/one.v2.jpeg")
        tar.add(photo, "part/two.jpeg")
        tar.add(text, "part/two.txt")
        tar.add(text, "part/two.cls")
    (example,) = load_shards(tmp_path / "others.tar")
    assert example.captions == ("a red square", "red") and example.image_id == "part/two"


def test_a_shard_that_is_no_tar_is_a_sentence(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(DataError, match=r"x\.tar cannot be read as a tar"):
        load_shards(tmp_path)
    with pytest.raises(DataError, match="holds no tar shards"):
        load_all([], [], [tmp_path.parent / tmp_path.name / ".."])


def test_a_shard_that_is_cut_or_damaged_is_a_sentence_and_not_fewer_photos(tmp_path):
    write_shards([(".jpg", bytes(900), i, ("a dog",)) for i in range(6)], tmp_path / "s")
    path = tmp_path / "s" / "shard-00000.tar"
    whole = path.read_bytes()
    for damaged in (whole[:2560], whole[:2700], whole[:2563] + b"?" + whole[2564:], whole[:700]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"shard-00000\.tar cannot be read as a tar"):
            load_shards(path)


def test_augmented_views_are_the_same_in_workers_and_at_every_visit(folder):
    examples = load_examples(folder, folder / "captions.json", keep=True)[:3]
    plan = [(np.array([0, 1, 2]), np.array([7, 8, 9])), (np.array([2, 0]), np.array([7, 7]))]
    state = torch.get_rng_state()
    here = list(LiveFeed(examples, 32, augment=True, workers=0).batches(plan))
    there = list(LiveFeed(examples, 32, augment=True, workers=2).batches(plan))
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    assert torch.equal(torch.get_rng_state(), state)  # the loop's random numbers are not touched


def test_a_mirrored_view_is_said_to_be_mirrored(folder):
    examples = load_examples(folder, folder / "captions.json", keep=True)[:1]
    views = Views(examples, 32)
    assert torch.equal(views[0, 1], views[0, 0].flip(1)) and flipped(1, 0, 0)
    seen = {flipped(view, 0, 0) for view in range(2, 20)}
    assert seen == {True, False}


@pytest.fixture(scope="module")
def encoder():
    return build_encoder(EncoderConfig(name="tf_efficientnet_lite0", size=32, frozen_stages=2))


def pictures(folder, seed):
    """Two photos whose names, sizes and times are those of every other such folder."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for name in ("000000000.bmp", "000000001.bmp"):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / name)
        os.utime(folder / name, (1, 1))
    return [AnnotatedImage(0, f.name, ("a photo",), place=f) for f in sorted(folder.iterdir())]


def sharded(folder, seed):
    """The same as tar shards."""
    examples = pictures(folder, seed)
    contents = [(e.file.suffix, e.file.read_bytes(), 0, e.captions) for e in examples]
    write_shards(contents, folder / "shards")
    os.utime(folder / "shards" / "shard-00000.tar", (1, 1))
    return load_shards(folder / "shards")


def cached(folder, examples, encoder, views=3, dtype=torch.float32):
    return FeatureCache(folder, examples, views).fill(encoder, dtype=dtype)


@pytest.mark.parametrize("made", [pictures, sharded])
def test_two_sets_with_the_same_names_have_a_cache_each(tmp_path, made, encoder):
    one = cached(tmp_path, made(tmp_path / "a", 1), encoder)
    other = cached(tmp_path, made(tmp_path / "b", 2), encoder)
    assert one.folder != other.folder
    assert not torch.equal(one.read(0, [0, 1]), other.read(0, [0, 1]))
    copy = cached(tmp_path, made(tmp_path / "c", 1), encoder)
    assert copy.folder == one.folder


def test_other_augmentation_is_another_cache(tmp_path, encoder, monkeypatch):
    examples = pictures(tmp_path / "photos", 1)
    one = cached(tmp_path, examples, encoder)
    monkeypatch.setitem(augment.COLOUR, "brightness", 0.9)
    other = cached(tmp_path, examples, encoder)
    assert one.folder != other.folder
    assert not torch.equal(one.read(2, [0, 1]), other.read(2, [0, 1]))
    monkeypatch.setitem(augment.CROP, "scale", (0.1, 0.2))
    third = cached(tmp_path, examples, encoder)
    assert third.folder not in (one.folder, other.folder)
    assert cached(tmp_path, examples, encoder, dtype=torch.bfloat16).folder != third.folder


# -- what prepare may replace ----------------------------------------------------------------------


def prepare(folder, *words):
    base = ["prepare", "--images", folder, "--annotations", folder / "captions.json"]
    return main([str(w) for w in (*base, *words)])


@pytest.fixture
def shards(folder):
    """Three photos in our own shards, of two each."""
    assert prepare(folder, "--shards-out", folder / "shards", "--per-shard", 2) == 1
    return folder / "shards"


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to", "folder"])
def test_shards_are_never_written_over_what_is_read(tmp_path, shards, link, overwrite, capsys):
    out = shards
    if link == "folder":
        out = tmp_path / "elsewhere"
        out.symlink_to(shards)
    elif link:
        out = tmp_path / "elsewhere"
        out.mkdir()
        getattr(out / "shard-00001.tar", link)(shards / "shard-00001.tar")
    before = contents(tmp_path)
    words = ["prepare", "--shards", shards, "--shards-out", out, "--per-shard", 1, *overwrite]
    assert main([str(w) for w in words]) == 2
    assert "--shards" in capsys.readouterr().err and contents(tmp_path) == before


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("option", ["--report", "--tokenizer"])
@pytest.mark.parametrize("name", ["captions.json", "0.jpg", "link.json", "hard.json"])
def test_an_output_never_replaces_an_input(folder, option, name, overwrite, capsys):
    (folder / "link.json").symlink_to(folder / "captions.json")
    (folder / "hard.json").hardlink_to(folder / "captions.json")
    before = contents(folder)
    assert prepare(folder, option, folder / name, *overwrite) == 2
    assert f"{option} would replace" in capsys.readouterr().err and contents(folder) == before


@pytest.mark.parametrize("option", ["--report", "--tokenizer", "--shards-out"])
def test_another_file_is_replaced_only_when_asked(tmp_path, folder, option, capsys):
    out = tmp_path / "out"
    out.mkdir()
    path = out / "shard-00000.tar" if option == "--shards-out" else out / "file.json"
    words = [option, out if option == "--shards-out" else path]
    path.write_text('{"mine": true}')
    assert prepare(folder, *words) == 2 and "--overwrite" in capsys.readouterr().err
    assert path.read_text() == '{"mine": true}'
    assert prepare(folder, *words, "--overwrite") == 1
    made = path.read_bytes()
    assert b"mine" not in made
    assert prepare(folder, *words) == 1  # its own earlier output
    assert path.read_bytes() == made


def test_shards_of_an_earlier_run_do_not_stay_among_the_new_ones(shards, folder):
    (shards / "other.tar").write_bytes(b"of somebody")
    assert prepare(folder, "--shards-out", shards, "--per-shard", 5) == 1
    assert sorted(p.name for p in shards.iterdir()) == ["other.tar", "shard-00000.tar"]
    (shards / "other.tar").unlink()
    assert len(load_shards(shards)) == 3


def test_an_output_in_a_folder_that_is_not_there_is_told_at_once(folder, capsys):
    assert prepare(folder, "--report", folder / "none" / "report.json") == 2
    assert "no such folder" in capsys.readouterr().err
