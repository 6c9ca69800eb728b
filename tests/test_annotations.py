"""One reader of annotation files: scoring, the folder job and training see the same in a file."""

import io
import json
import subprocess
import sys
import tarfile
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captioner.annotations import AnnotatedImage, PhotoFinder, located, read_annotations
from captioner.annotations.names import base_name, file_number, parts_of, plain_number
from captioner.batch.sources import annotated_items
from captioner.errors import DataError
from captioner.metrics.readers import read_references
from train.data import load_all, load_examples, load_shards


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 12), "teal").save(stream, "JPEG")
    return stream.getvalue()


def photos(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg())


def coco(*images, annotations=None):
    """A COCO file of (id, file name) and a caption of each."""
    if annotations is None:
        annotations = [{"image_id": i, "caption": f"Image {i}."} for i, _ in images]
    return {
        "images": [{"id": i, "file_name": name} for i, name in images],
        "annotations": annotations,
    }


def saved(folder, content, name="captions.json", encoding="utf-8"):
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text.encode(encoding))
    return path


def seen(path, folder):
    """{id as text: (photo, captions)} by scoring, by the folder job and by training."""
    refs = read_references(path)
    scored = {i.strip(): tuple(c) for i, c in zip(refs.ids, refs.captions, strict=True)}
    job = {str(i.image_id): i.name for i in annotated_items(path, [folder])}
    trained = {str(e.image_id): (str(e.file), e.captions) for e in load_examples(folder, path)}
    assert {i: file for i, (file, _) in trained.items()} == job
    assert {i: captions for i, (_, captions) in trained.items()} == scored
    return trained


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("given", [1, 1.0, "1", "a-7"])
def test_ids_and_a_byte_order_mark_mean_the_same_to_all_three(tmp_path, encoding, given):
    photos(tmp_path, "a.jpg")
    path = saved(tmp_path, coco((given, "a.jpg")), encoding=encoding)
    ((number, (file, captions)),) = seen(path, tmp_path).items()
    assert (number, file, len(captions)) == (str(given).removesuffix(".0"), f"{tmp_path}/a.jpg", 1)


def test_an_id_may_be_a_text_in_one_list_and_a_number_in_the_other(tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    said = [{"image_id": "1", "caption": "A cat."}, {"image_id": 2.0, "caption": "A dog."}]
    path = saved(tmp_path, coco((1, "a.jpg"), ("2", "b.jpg"), annotations=said))
    assert [c for _, c in seen(path, tmp_path).values()] == [("A cat.",), ("A dog.",)]


@pytest.mark.parametrize("there, named", [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_may_be_composed_in_the_one_and_not_in_the_other(tmp_path, there, named):
    name = "Grüße/café.jpg"
    photos(tmp_path, unicodedata.normalize(there, name))
    path = saved(tmp_path, coco((1, unicodedata.normalize(named, name))))
    assert seen(path, tmp_path)["1"][0] == f"{tmp_path}/{unicodedata.normalize(there, name)}"


def test_names_with_backslashes_and_names_without_their_folder_are_found(tmp_path):
    photos(tmp_path, "val2014/a.jpg", "train2014/b.jpg", "c.jpg")
    path = saved(tmp_path, coco((1, "val2014\\a.jpg"), (2, "b.jpg"), (3, "D:\\coco\\c.jpg")))
    files = [file for file, _ in seen(path, tmp_path).values()]
    assert files == [f"{tmp_path}/{n}" for n in ("val2014/a.jpg", "train2014/b.jpg", "c.jpg")]


def test_a_photo_never_stands_for_one_of_the_same_name_in_another_folder(tmp_path):
    photos(tmp_path, "a/1.jpg")
    path = saved(tmp_path, coco((1, "a/1.jpg"), (2, "b/1.jpg")))
    assert [i.name for i in annotated_items(path, [tmp_path])] == [
        f"{tmp_path}/a/1.jpg", f"{tmp_path}/b/1.jpg",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"1 of 2 photographs"):
        load_examples(tmp_path, path)


def test_no_name_leads_outside_the_folder(tmp_path):
    photos(tmp_path, "outside.jpg", "inside/x.jpg")
    for name in ("../outside.jpg", str(tmp_path / "outside.jpg"), "..\\outside.jpg", "a/../../"):
        assert PhotoFinder([tmp_path / "inside"]).find(name) is None
    (image,) = located([AnnotatedImage(1, "../../etc/passwd")], [tmp_path / "inside"])
    assert image.file == tmp_path / "inside" / "etc" / "passwd"
    for odd in ("", "\0", "/", "x" * 5000, "\ud83d.jpg"):
        assert PhotoFinder([tmp_path]).find(odd) is None


# Splits -------------------------------------------------------------------------------------------


@pytest.fixture
def karpathy(tmp_path):
    images = []
    for n, split in enumerate(["train", "restval", "val", "test"]):
        photos(tmp_path, f"val2014/{n}.jpg")
        images.append(
            {
                "filepath": "val2014", "filename": f"{n}.jpg", "cocoid": n, "split": split,
                "sentences": [{"raw": f"Image {n}."}],
            }
        )  # fmt: skip
    return saved(tmp_path, {"images": images}, "dataset_coco.json")


@pytest.mark.parametrize(
    "split, ids",
    [
        ("train", [0]),
        ("restval", [1]),
        ("train,restval", [0, 1]),
        ("val, test", [2, 3]),
        ("test", [3]),
    ],
)
def test_a_split_has_one_meaning(karpathy, tmp_path, split, ids):
    assert read_references(karpathy, split).ids == list(map(str, ids))
    assert [i.image_id for i in annotated_items(karpathy, [tmp_path], split=split)] == ids
    assert [e.image_id for e in load_examples(tmp_path, f"{karpathy}:{split}")] == ids
    assert [e.image_id for e in load_examples(tmp_path, karpathy, split=split)] == ids


def test_the_split_that_nobody_named(karpathy, tmp_path):
    assert read_references(karpathy).ids == ["3"]
    assert len(list(annotated_items(karpathy, [tmp_path]))) == 4
    assert [e.image_id for e in load_examples(tmp_path, karpathy)] == [0, 1]


def test_a_split_that_is_not_there_is_a_sentence_for_training_too(karpathy, tmp_path):
    with pytest.raises(DataError, match=r"no split 'tset' in .*; its splits are restval, test"):
        load_examples(tmp_path, f"{karpathy}:tset")
    path = saved(tmp_path, coco((1, "val2014/0.jpg")))
    with pytest.raises(DataError, match="has no splits"):
        load_examples(tmp_path, f"{path}:val")
    assert len(load_examples(tmp_path, path, split="val")) == 1
    odd = saved(tmp_path, coco((1, "val2014/0.jpg")), "odd:val")
    assert len(load_examples(tmp_path, odd)) == 1


# Captions -----------------------------------------------------------------------------------------

NO_TEXT = [None, float("nan"), 3, ["A dog."], {"a": 1}, True]


@pytest.mark.parametrize("caption", NO_TEXT)
@pytest.mark.parametrize("form", ["coco", "karpathy"])
def test_a_caption_that_is_no_text_is_refused_told_and_left_out(tmp_path, capsys, caption, form):
    photos(tmp_path, "0.jpg", "1.jpg")
    if form == "coco":
        said = [
            {"image_id": n, "caption": c} for n, c in ((0, "A cat."), (0, caption), (1, caption))
        ]
        content = coco((0, "0.jpg"), (1, "1.jpg"), annotations=said)
    else:
        content = {"images": [
            {"split": "test", "cocoid": n, "filename": f"{n}.jpg",
             "sentences": [{"raw": c} for c in cs]}
            for n, cs in ((0, ["A cat.", caption]), (1, [caption]))
        ]}  # fmt: skip
    path = saved(tmp_path, content)
    with pytest.raises(DataError, match="must be text, not"):
        read_references(path)
    (example,) = load_examples(tmp_path, path, split="test")
    assert (example.image_id, example.captions) == (0, ("A cat.",))
    assert "2 captions" in capsys.readouterr().err
    every = load_examples(tmp_path, path, split="test", keep=True)
    assert [len(e.flaws) for e in every] == [1, 1]
    assert "must be text, not" in every[1].flaws[0]


def test_empty_captions_are_never_trained_on(tmp_path, capsys):
    photos(tmp_path, "0.jpg", "1.jpg")
    empty = ["", "  ", "\n\t", "\u00a0", "\u200b\ufeff", "\ud83d"]
    said = [{"image_id": 0, "caption": c} for c in ("A cat.", *empty, "🐶")]
    path = saved(
        tmp_path,
        coco((0, "0.jpg"), (1, "1.jpg"), annotations=[*said, {"image_id": 1, "caption": ""}]),
    )
    (example,) = load_examples(tmp_path, path)
    assert example.captions == ("A cat.", "🐶")
    assert "7 captions" in capsys.readouterr().err
    assert [len(e.flaws) for e in load_examples(tmp_path, path, keep=True)] == [6, 1]
    # Scoring counts an empty reference as the COCO evaluation does.
    with pytest.raises(DataError, match="only empty ones"):
        read_references(path)


def test_prepare_tells_what_training_leaves_out(tmp_path, capsys):
    from train.__main__ import main

    photos(tmp_path, "0.jpg", "1.jpg")
    said = [{"image_id": 0, "caption": c} for c in ("A cat.", None, "")] + [
        {"image_id": 1, "caption": 7}
    ]
    path = saved(tmp_path, coco((0, "0.jpg"), (1, "1.jpg"), annotations=said))
    report = tmp_path / "report.json"
    words = ["prepare", "--images", tmp_path, "--annotations", path, "--report", report]
    assert main([str(w) for w in words]) == 0
    out = capsys.readouterr().out
    assert "1 photographs with 1 captions can be trained on" in out
    assert "3 captions that are empty or no text:" in out and "1 uncaptioned" in out
    flaws = json.loads(report.read_text())["captions"]
    assert "annotation 2 (image 0) must be text, not null" in flaws[0]
    assert flaws[1] == "a caption of 0.jpg is empty"


def test_half_an_emoji_in_a_caption_can_be_trained_on(tmp_path):
    photos(tmp_path, "0.jpg")
    said = [{"image_id": 0, "caption": "A dog \ud83d runs."}]
    (example,) = load_examples(tmp_path, saved(tmp_path, coco((0, "0.jpg"), annotations=said)))
    assert example.captions[0].encode().decode() == "A dog  runs."


def test_an_image_that_is_there_twice_is_refused_unless_it_is_the_same(tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    said = [{"image_id": 1, "caption": "A cat."}]
    twice = saved(tmp_path, coco((1, "a.jpg"), (1, "b.jpg"), annotations=said))
    for read in (read_references, lambda p: load_examples(tmp_path, p)):
        with pytest.raises(DataError, match="has the image 1 twice"):
            read(twice)
    same = saved(tmp_path, coco((1, "a.jpg"), (1.0, "a.jpg"), annotations=said))
    assert len(seen(same, tmp_path)) == 1


def test_the_folder_job_needs_no_captions(tmp_path):
    photos(tmp_path, "a.jpg")
    boxes = coco((1, "a.jpg"), annotations=[{"image_id": 1, "bbox": [0, 0, 1, 1]}, 3])
    for content in (boxes, {"images": boxes["images"]}):
        path = saved(tmp_path, content)
        assert [i.image_id for i in annotated_items(path, [tmp_path])] == [1]
    path = saved(tmp_path, boxes | {"annotations": boxes["annotations"][:1]})
    with pytest.raises(DataError, match="objects, not captions"):
        load_examples(tmp_path, path)


# JSON lines ---------------------------------------------------------------------------------------


def test_json_lines_are_annotations_too(tmp_path):
    photos(tmp_path, "a.jpg", "b/c.jpg")
    rows = [
        {"file": "a.jpg", "caption": "A cat."},
        {"image_id": 7, "file_name": "b/c.jpg", "captions": ["A dog.", "Dogs."]},
        {"file": "a.jpg", "caption": "A cat asleep."},
        {"file": "d.jpg", "error": "d.jpg is damaged."},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows[:3])
    assert seen(saved(tmp_path, text, "a.jsonl"), tmp_path) == {
        "a.jpg": (f"{tmp_path}/a.jpg", ("A cat.", "A cat asleep.")),
        "7": (f"{tmp_path}/b/c.jpg", ("A dog.", "Dogs.")),
    }
    path = saved(tmp_path, text + json.dumps(rows[3]), "a.jsonl")
    assert read_references(path).ids == ["a.jpg", "7"]
    assert len(list(annotated_items(path, [tmp_path]))) == 3


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("[1]", "line 1 should be"),
        ('{"caption": "A cat."}', 'neither "image_id" nor "file"'),
        ('{"image_id": [1], "caption": "A cat."}', r"line 1 has the image id \[1\]"),
        ("{", "line 1 is not valid JSON"),
        ("[" * 100_000, "line 1"),
        ('{"file": "a.jpg", "caption": 3}', 'the "caption" of line 1 must be text, not the nu'),
    ],
)  # fmt: skip
def test_bad_lines_are_sentences(tmp_path, line, sentence):
    with pytest.raises(DataError, match=sentence):
        read_references(saved(tmp_path, line, "a.jsonl"))


# Shards -------------------------------------------------------------------------------------------


def shard(path, **members):
    """A tar of members; "__" in a name stands for a dot."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_img2datasets_shards_are_read(tmp_path, capsys):
    """As it writes them: "caption": null where there was none, and the caption in a .txt too."""
    path = shard(
        tmp_path / "00000.tar",
        a__jpg=jpeg(), a__json='{"caption": "A cat.", "status": "success"}', a__txt="No.",
        b__jpg=jpeg(), b__json='{"caption": null, "url": "x"}',
        c__jpg=jpeg(), c__json='{"caption": null}', c__txt="A dog.",
        d__jpg=jpeg(), d__json='{"url": "x"}', d__txt="A cow.\n\nCows.",
        e__jpg=jpeg(), e__json='{"captions": [null, "A pig.", 3, {}]}',
        f__jpg=jpeg(), f__json='{"caption": 3}',
        g__jpg=jpeg(), g__json='{"caption": [null]}',
        h__jpg=jpeg(), h__json="[]", h__txt="A hen.",
        i__jpg=jpeg(), i__json="{", i__txt="",
        j__jpg=jpeg(), j__json='{"captions": null, "caption": "A fox.", "image_id": 7}',
    )  # fmt: skip
    every = {str(e.image_id): (e.captions, len(e.flaws)) for e in load_shards(path, keep=True)}
    assert every == {
        "a": (("A cat.",), 0), "b": ((), 0), "c": (("A dog.",), 0), "d": (("A cow.", "Cows."), 0),
        "e": (("A pig.",), 3), "f": ((), 1), "g": ((), 1), "h": (("A hen.",), 1), "i": ((), 1),
        "7": (("A fox.",), 0),
    }  # fmt: skip
    assert [str(e.image_id) for e in load_shards(path)] == ["a", "c", "d", "e", "h", "7"]
    assert "7 captions of" in capsys.readouterr().err


def test_names_with_several_dots(tmp_path):
    path = shard(
        tmp_path / "a.tar",
        img__0001__jpg=jpeg(), img__0001__txt="One.",
        img__0002__jpg=jpeg(), img__0002__json='{"caption": "Two."}',
        img__0003__JPG=jpeg(), img__0003__txt="Three.",
        x__jpg=jpeg(), x__txt="A cat.", x__seg__png=jpeg(),
        x__left__png=jpeg(), x__left__txt="Left.",
        _x__txt="", **{"._img.0001.jpg": b"AppleDouble"},
    )  # fmt: skip
    found = [(e.image_id, e.captions) for e in load_all([], [], [path])]
    assert found == [
        ("img.0001", ("One.",)), ("img.0002", ("Two.",)), ("img.0003", ("Three.",)),
        ("x", ("A cat.",)), ("x.left", ("Left.",)),
    ]  # fmt: skip


def test_shards_without_captions_say_what_is_missing(tmp_path):
    path = shard(tmp_path / "a.tar", a__jpg=jpeg())
    with pytest.raises(DataError, match=r"a\.tar holds no photograph with a caption: it needs KEY"):
        load_all([], [], [path])
    with pytest.raises(DataError, match="Name what to train on"):
        load_all([], [])


def test_shards_serve_scoring_and_the_folder_job(tmp_path):
    path = shard(tmp_path / "a.tar", a__jpg=jpeg(), a__txt="A cat.", b__jpg=jpeg(), b__txt="A dog.")
    refs = read_references(path)
    assert (refs.ids, refs.captions) == (["a", "b"], [["A cat."], ["A dog."]])
    items = list(annotated_items(path, []))
    assert [(i.image_id, i.name) for i in items] == [("a", f"{path}/a.jpg"), ("b", f"{path}/b.jpg")]
    from captioner.batch.decode import Decoder

    assert Decoder(8)(items[1])[1].width == 16


# Names --------------------------------------------------------------------------------------------


def test_names_and_numbers():
    assert parts_of("/a//./b\0c/../d.jpg") == ["a", "b", "c", "d.jpg"]
    assert base_name("a\\b/cafe\u0301.jpg") == "café.jpg"
    assert file_number("COCO_val2014_000000391895.jpg") == "391895" == file_number("x/391895")
    assert file_number("a.jpg2") == "" == file_number("000.png")
    numbers = {"12.0": "12", "1e5": "100000", "1E+05": "100000", "12": "12", "012": "012"}
    odd = ("1.5", "1e-2", "a1", "", "1_0", "1e99", "٣.0", "inf", "nan", "-1.0")
    assert {n: plain_number(n) for n in numbers} == numbers
    assert [plain_number(n) for n in odd] == [*odd[:5], str(10**99), *odd[6:]]


@given(st.text())
def test_any_name_is_inside(name):
    assert not {"..", ".", ""} & set(parts_of(name))
    assert "/" not in base_name(name) and "\\" not in base_name(name)
    assert plain_number(name).strip() or not name.strip()


def test_the_reader_imports_neither_torch_nor_pil():
    code = (
        "import captioner.annotations, sys;"
        "print(*[m for m in ('torch', 'PIL', 'numpy', 'pycocotools') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_coco_trains_in_the_order_of_ids_whatever_they_are(tmp_path):
    photos(tmp_path, *(f"{n}.jpg" for n in range(4)))
    path = saved(tmp_path, coco((10, "0.jpg"), ("b", "1.jpg"), (9, "2.jpg"), ("a", "3.jpg")))
    assert [e.image_id for e in load_examples(tmp_path, path)] == [9, 10, "a", "b"]
    assert [i.image_id for i in annotated_items(path, [tmp_path])] == [10, "b", 9, "a"]
    found = read_annotations(path)
    assert [i.image_id for i in found.images] == [10, "b", 9, "a"]
