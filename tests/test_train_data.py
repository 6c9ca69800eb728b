"""Data sets as people have them: COCO, Karpathy's file, tar shards; and `prepare`, which checks."""

import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.errors import DataError
from train.__main__ import main
from train.augment import FIRST_RANDOM_VIEW, Views, flipped
from train.data import load_all, load_examples, load_shards
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
