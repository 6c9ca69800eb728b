"""Result and reference files: every format read, every mistake answered by a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.errors import DataError
from captioner.metrics.matching import match
from captioner.metrics.readers import read_references, read_results

COCO = {
    "images": [
        {"id": 7, "file_name": "COCO_val2014_000000000007.jpg"},
        {"id": 12, "file_name": "COCO_val2014_000000000012.jpg"},
    ],
    "annotations": [
        {"id": 1, "image_id": 12, "caption": "Two cats."},
        {"id": 2, "image_id": 7, "caption": "A dog."},
        {"id": 3, "image_id": 12, "caption": "Cats asleep."},
    ],
}
KARPATHY = {
    "dataset": "coco",
    "images": [
        {
            "split": split,
            "cocoid": cocoid,
            "imgid": place,
            "filename": f"COCO_val2014_{cocoid:012}.jpg",
            "sentences": [{"raw": f"Caption of {cocoid}.", "tokens": ["caption"]}],
        }
        for place, (split, cocoid) in enumerate(
            [("train", 1), ("restval", 2), ("val", 3), ("test", 4), ("test", 5)]
        )
    ],
}


def scored(results: Path, references: Path, **options) -> dict[str, str]:
    """Image id to caption, as they would be scored."""
    refs = read_references(references)
    matched = match(read_results(results), refs, results, **options)
    ids = [refs.ids[place] for place in matched.images]
    return dict(zip(ids, matched.captions, strict=True))


def test_coco_captions_are_grouped_by_image(files) -> None:
    refs = read_references(files("refs.json", COCO))
    assert refs.ids == ["12", "7"]
    assert refs.captions == [["Two cats.", "Cats asleep."], ["A dog."]]
    assert refs.files == ["COCO_val2014_000000000012.jpg", "COCO_val2014_000000000007.jpg"]


@pytest.mark.parametrize(
    ("split", "ids"),
    [
        (None, ["4", "5"]),
        ("test", ["4", "5"]),
        ("val", ["3"]),
        ("restval", ["2"]),
        ("train,restval", ["1", "2"]),
    ],
)
def test_karpathys_file_is_read_by_split(files, split, ids) -> None:
    refs = read_references(files("dataset_coco.json", KARPATHY), split)
    assert refs.ids == ids
    assert refs.captions[0] == [f"Caption of {ids[0]}."]


def test_karpathys_files_without_coco_ids_go_by_imgid_and_file(files) -> None:
    flickr = {
        "images": [
            {"split": "test", "imgid": 3, "filename": "a.jpg", "sentences": [{"raw": "A dog."}]}
        ]
    }
    refs = read_references(files("dataset_flickr8k.json", flickr))
    assert (refs.ids, refs.files) == (["3"], ["a.jpg"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.json", [{"image_id": 7, "caption": "a"}, {"image_id": 12, "caption": "b"}]),
        ("r.json", [{"image_id": "7", "caption": "a"}, {"image_id": 12.0, "caption": "b"}]),
        ("r.jsonl", '{"image_id": 7, "caption": "a"}\n\n{"image_id": 12, "caption": "b"}\n'),
        ("r.txt", '{"image_id": 7, "caption": "a"}\n{"image_id": 12, "caption": "b"}\n'),
        ("r.csv", "image_id,caption\n7,a\n12,b\n"),
        (
            "r.csv",
            "\ufefffile,caption\r\nx/COCO_val2014_000000000007.jpg,a\r\n000000000012.jpg,b\n",
        ),
        ("r.tsv", "caption\tfile\na\tx\\COCO_val2014_000000000007.jpg\nb\t12.png\n"),
        (
            "r.jsonl",
            '{"file": "photos/COCO_val2014_000000000007.jpg", "caption": "a", "words": []}\n'
            '{"file": "val2017/000000000012.jpg", "caption": "b"}\n',
        ),
    ],
)
def test_every_format_of_results_finds_its_images(files, name, content) -> None:
    assert scored(files(name, content), files("refs.json", COCO)) == {"7": "a", "12": "b"}


def test_csv_captions_may_hold_commas_quotes_and_line_breaks(files) -> None:
    path = files("r.csv", 'image_id,caption\n7,"A ""dog"", a cat"\n12,"two\nlines"\n')
    assert scored(path, files("refs.json", COCO)) == {"7": 'A "dog", a cat', "12": "two\nlines"}


@pytest.mark.parametrize(
    "content",
    [
        "image_id,caption\n7.0,a\n12.0,b\n",
        "image_id;caption\r\n7;a\r\n1.2E+01;b\r\n",
        "sep=;\r\nimage_id;caption\r\n7;a\r\n12;b\r\n",
        "image_id\tcaption\n7\ta\n12\tb\n",
        "image_id, caption\n 7 ,a\n12 ,b\n,\n , \n",
        "image_id,caption,,\n7,a,,\n12,b,,\n,,,\n",
        "image_id,caption\n7,a,\n12,b,,\n",
        "image_id,file,caption\n ,000000000007.jpg,a\n,000000000012.jpg,b\n",
    ],
)
def test_csv_is_read_as_spreadsheets_write_it(files, content) -> None:
    assert scored(files("r.csv", content), files("refs.json", COCO)) == {"7": "a", "12": "b"}


def test_an_id_that_is_there_goes_before_the_number_it_looks_like(files) -> None:
    refs = {"annotations": [{"image_id": i, "caption": "A dog."} for i in ("1e5", 100000, "2.0")]}
    rows = "image_id,caption\n1e5,a\n100000.0,b\n2,c\n"
    found = scored(files("r.csv", rows), files("refs.json", refs))
    assert found == {"1e5": "a", "100000": "b", "2.0": "c"}


def test_our_own_csv_scores_whatever_the_photos_are_called(files, tmp_path: Path) -> None:
    from captioner.batch.writers import write_table

    names = ["-dash.jpg", "=1+1.jpg", "@x.jpg", "'-quoted.jpg", "plain.jpg"]
    refs = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "annotations": [{"image_id": n, "caption": "A dog."} for n in range(len(names))],
    }
    records = [{"file": name, "caption": f"-{n} dogs"} for n, name in enumerate(names)]
    write_table("csv", records, tmp_path / "captions.csv")
    found = scored(tmp_path / "captions.csv", files("refs.json", refs))
    assert found == {str(n): f"-{n} dogs" for n in range(len(names))}


def test_names_may_differ_in_how_their_accents_are_composed(files) -> None:
    refs = {
        "images": [
            {"id": 1, "file_name": "a/caf\u00e9.jpg"},
            {"id": 2, "file_name": "b/e\u0301.jpg"},
        ],
        "annotations": [{"image_id": n, "caption": "A dog."} for n in (1, 2)],
    }
    rows = [{"file": "x\\cafe\u0301.jpg", "caption": "a"}, {"file": "\u00e9.jpg", "caption": "b"}]
    found = scored(files("r.json", rows), files("refs.json", refs))
    assert found == {"1": "a", "2": "b"}


def test_photos_that_failed_are_missing_and_not_empty(files) -> None:
    path = files(
        "r.jsonl",
        '{"file": "000000000007.jpg", "error": "not a photo"}\n'
        '{"file": "000000000012.jpg", "caption": "b"}\n',
    )
    with pytest.raises(DataError, match=r"1 image \(7\) of .* has no caption"):
        scored(path, files("refs.json", COCO))
    assert scored(path, files("refs.json", COCO), allow_missing=True) == {"12": "b"}


def test_files_of_the_same_name_are_told_apart_by_their_folders(files) -> None:
    refs = {
        "images": [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "b/1.jpg"}],
        "annotations": [{"image_id": n, "caption": "A dog."} for n in (1, 2)],
    }
    whole = '{"file": "photos/b/1.jpg", "caption": "b"}\n{"file": "photos/a/1.jpg", "caption": "a"}'
    assert scored(files("r.jsonl", whole), files("refs.json", refs)) == {"1": "a", "2": "b"}
    bare = '{"file": "1.jpg", "caption": "b"}\n'
    with pytest.raises(DataError, match="several images with the file name"):
        scored(files("bare.jsonl", bare), files("refs.json", refs))


def test_a_number_in_a_name_is_used_only_when_it_is_one_images(files) -> None:
    refs = {
        "images": [{"id": 1, "file_name": "a_5.jpg"}, {"id": 2, "file_name": "b_5.jpg"}],
        "annotations": [{"image_id": n, "caption": "A dog."} for n in (1, 2)],
    }
    with pytest.raises(DataError, match=r"No caption of .* belongs to an image"):
        scored(files("r.jsonl", '{"file": "c_5.jpg", "caption": "b"}\n'), files("refs.json", refs))


RESULTS = [{"image_id": 7, "caption": "a"}, {"image_id": 12, "caption": "b"}]


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        ("", "is empty"),
        ("[", "not valid JSON"),
        ('[{"image_id": 7, "caption": "a"', "not valid JSON"),
        ('{"image_id": 7, "caption": "a"}\n{"image_id"', "line 2 is not valid JSON"),
        ("[]", "no captions to score"),
        ('"text"', "should be a list"),
        ("3", "should be a list"),
        (COCO, "references, not results"),
        ([7], "entry 1 should be"),
        ([{"caption": "a"}], 'neither "image_id" nor "file"'),
        ([{"image_id": 7}], 'no "caption"'),
        ([{"image_id": 7, "caption": None}], "must be text, not null"),
        ('[{"image_id": 7, "caption": NaN}]', "must be text, not NaN"),
        ('[{"image_id": NaN, "caption": "a"}]', "image id nan"),
        ([{"image_id": 7, "caption": 3}], "must be text, not the number 3"),
        ([{"image_id": 7, "caption": ["a"]}], "must be text, not a list"),
        ([{"image_id": True, "caption": "a"}], "image id True"),
        ([{"image_id": 7.5, "caption": "a"}], "image id 7.5"),
        ([{"image_id": [7], "caption": "a"}], "image id"),
        ([*RESULTS, RESULTS[0]], r"more than one caption for image 7 \(the same caption\)"),
        ([*RESULTS, {"image_id": 7, "caption": "c"}], "more than one caption for image 7;"),
        (RESULTS[:1], r"1 image \(12\) of .* has no caption"),
        ([*RESULTS, {"image_id": 99, "caption": "c"}], r"1 caption \(99\) .* has no references"),
        ([RESULTS[0], {"image_id": 12, "caption": " \n"}], r"1 image \(12\) has an empty caption"),
        ([{"image_id": 70, "caption": "a"}], "No caption of .* belongs to an image"),
        ("hello", "not valid JSON"),
        ("[" * 100_000, "nested too deeply|not valid JSON"),
    ],
)
def test_bad_results_are_refused_in_a_sentence(files, results, sentence: str) -> None:
    path = files("results.json", results)
    with pytest.raises(DataError, match=sentence) as caught:
        scored(path, files("refs.json", COCO))
    message = str(caught.value)
    assert "results.json" in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,b\n1,2\n", "needs a header line with the columns"),
        ("", "needs a header line"),
        ("file,caption\na.jpg,a dog, a cat\n", "line 2 has not as many columns"),
        ("file,caption\na.jpg\n", "line 2 has not as many columns"),
        ('file,caption\na.jpg,"a dog\n', "not valid CSV"),
        ("file,caption\n", "no captions to score"),
    ],
)
def test_bad_csv_is_refused_in_a_sentence(files, content: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_results(files("r.csv", content))


def test_text_that_is_not_utf8_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.json"
    path.write_bytes('[{"image_id": 1, "caption": "café"}]'.encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_results(path)
    with pytest.raises(DataError, match="There is no file"):
        read_references(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_references(tmp_path)


@pytest.mark.parametrize(
    ("references", "split", "sentence"),
    [
        ("{", None, "not valid JSON"),
        ("[]", None, "not an annotation file"),
        (RESULTS, None, "holds results and no references"),
        ({"images": []}, None, "has no captions"),
        ({"images": 3}, None, '"images" must be a list'),
        ({"annotations": 3}, None, '"annotations" must be a list'),
        ({"annotations": []}, None, "no captions to score against"),
        ({"annotations": [3]}, None, 'annotation 1 has no "image_id"'),
        ({"annotations": [{"image_id": 1}]}, None, 'no "caption"'),
        ({"annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}, None, "objects, not captions"),
        ({"annotations": [{"image_id": 1, "caption": None}]}, None, "must be text, not null"),
        ({"annotations": [{"image_id": 1, "caption": " "}]}, None, "no references, only empty"),
        (COCO, "test", "has no splits"),
        (KARPATHY, "tset", "no split 'tset'"),
        ({"images": KARPATHY["images"][:1]}, "val", "no images of the split val"),
        ({"images": [{"split": ["test"], "sentences": []}]}, None, "no images of the split test"),
        ({"images": [{"split": "test", "sentences": []}]}, None, '"cocoid" or "imgid"'),
        ({"images": [KARPATHY["images"][3]] * 2}, None, "has the image 4 twice"),
        ({"images": [{"split": "test", "imgid": 1, "sentences": []}]}, None, "no references"),
        ({"images": [{"split": "test", "imgid": 1, "sentences": "a"}]}, None, "are not a list"),
        ({"images": [{"split": "test", "imgid": 1, "sentences": [{}]}]}, None, 'no "raw"'),
    ],
)
def test_bad_references_are_refused_in_a_sentence(files, references, split, sentence) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        read_references(files("refs.json", references), split)
    assert str(caught.value).endswith(".")


def test_what_is_left_out_is_counted(files) -> None:
    refs = read_references(files("refs.json", COCO))
    path = files(
        "r.json", json.dumps([{"image_id": 7, "caption": "a"}, {"image_id": 9, "caption": "b"}])
    )
    matched = match(read_results(path), refs, path, allow_missing=True)
    assert matched.captions == ["a"]
    assert [line.split(" in ")[0] for line in matched.left_out] == [
        "1 caption (9)",
        f"1 image (12) of {refs.path} has no caption",
    ]


ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(
    ["images", "annotations", "image_id", "caption", "file", "id", "split", "sentences", "raw"]
)
JSON = st.recursive(
    ATOMS | st.just("test"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.sampled_from([".json", ".jsonl", ".csv", ".txt"]))
@settings(deadline=None, max_examples=300)
@pytest.mark.slow
def test_whatever_a_file_holds_is_read_or_refused(tmp_path_factory, content, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"anything{suffix}"
    path.write_text(json.dumps(content))
    for read in (read_results, read_references):
        try:
            read(path)
        except DataError as error:
            assert str(path) in str(error)


@given(st.text(max_size=60), st.sampled_from([".json", ".jsonl", ".csv", ".tsv", ".txt"]))
@settings(deadline=None, max_examples=300)
@pytest.mark.slow
def test_whatever_text_a_file_holds_is_read_or_refused(tmp_path_factory, text, suffix) -> None:
    path = tmp_path_factory.getbasetemp() / f"text{suffix}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for read in (read_results, read_references):
        try:
            read(path)
        except DataError as error:
            assert str(path) in str(error)
