"""Tables and text files say what the records say, and a name cannot make them do anything else."""

import csv
import json
import os

import pytest

from captioner.batch.items import Item
from captioner.batch.writers import Sidecars, write_table
from captioner.errors import CaptionerError, DataError
from captioner.metrics.readers import read_results
from captioner.outputs import Guard


def record(file, image_id=None, caption="A cat, on a mat."):
    return {
        "file": file, "image_id": image_id, "caption": caption, "confidence": 0.5,
        "words": [{"text": "A", "probability": 0.9}], "alternatives": [], "model": "tiny",
        "version": "1", "width": 640, "height": 427,
    }  # fmt: skip


def test_csv_reads_back_and_runs_no_formulas(tmp_path):
    path = tmp_path / "captions.csv"
    files = ["a.jpg", '=cmd|"/c calc"!A1.jpg', "-dash.jpg", "@x.jpg", "new\nline.jpg", "ünï.jpg"]
    write_table("csv", map(record, [*files, os.fsdecode(b"latin-\xe9.jpg")]), path)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["file"] for r in rows] == [
        "a.jpg", '\'=cmd|"/c calc"!A1.jpg', "'-dash.jpg", "'@x.jpg", "new\nline.jpg", "ünï.jpg",
        "latin-\\xe9.jpg",
    ]  # fmt: skip
    assert rows[0]["caption"] == "A cat, on a mat." and rows[0]["width"] == "640"
    assert json.loads(rows[0]["words"]) == [{"text": "A", "probability": 0.9}]
    assert next(r.file for r in read_results(path)) == "a.jpg"


def test_coco_results_score_as_they_are(tmp_path):
    path = tmp_path / "results.json"
    files = ["COCO_val2014_000000391895.jpg", "x/000000000042.jpg", "cat.jpg"]
    write_table("coco", [*map(record, files), record("any.jpg", 7)], path)
    ids = [entry["image_id"] for entry in json.loads(path.read_text())]
    assert ids == [391895, 42, "cat", 7]
    assert [r.image_id for r in read_results(path)] == ["391895", "42", "cat", "7"]


def test_two_photos_with_one_id_are_told_and_the_old_table_stays(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("[]")
    with pytest.raises(DataError, match=r"a/1\.jpg and b/1\.jpg would both have the image_id 1"):
        write_table("coco", [record("a/1.jpg"), record("b/1.jpg")], path)
    assert path.read_text() == "[]" and len(list(tmp_path.iterdir())) == 1


def test_empty_tables_are_whole(tmp_path):
    write_table("coco", [], tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == []
    write_table("csv", [], tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text().startswith("file,image_id,caption")


@pytest.mark.slow
def test_parquet_has_words_as_lists(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = tmp_path / "captions.parquet"
    names = [f"{i}.jpg" for i in range(25_000)]
    write_table("parquet", (record(n, 3) for n in [*names, os.fsdecode(b"\xe9.jpg")]), path)
    table = parquet.read_table(path)
    assert table.num_rows == 25_001 and table.column("file")[-1].as_py() == "\\xe9.jpg"
    assert table.column("words")[0].as_py()[0]["text"] == "A"
    assert table.column("image_id")[0].as_py() == "3"


def test_text_files_go_beside_or_under_a_folder_and_nothing_is_overwritten(tmp_path):
    (tmp_path / "sub").mkdir()
    item = Item(str(tmp_path / "sub/a.jpg"), path=str(tmp_path / "sub/a.jpg"), place="sub/a.jpg")
    Sidecars(None).write(item, "A cat.")
    assert (tmp_path / "sub/a.txt").read_text() == "A cat.\n"
    Sidecars(tmp_path / "out").write(item, "A cat.")
    assert (tmp_path / "out/sub/a.txt").read_text() == "A cat.\n"
    Sidecars(None).write(item, "A cat.")  # its own, after a kill
    with pytest.raises(CaptionerError, match=r"a\.txt is there already"):
        Sidecars(None).write(item, "A dog.")
    again = Sidecars(None, Guard(overwrite=True))
    again.write(item, "A dog.")
    assert (tmp_path / "sub/a.txt").read_text() == "A dog.\n"
    twin = Item(str(tmp_path / "sub/a.png"), path=str(tmp_path / "sub/a.png"), place="sub/a.png")
    with pytest.raises(CaptionerError, match="there already"):
        again.write(twin, "A bird.")
    with pytest.raises(CaptionerError, match="no place beside it"):
        Sidecars(None).write(Item("https://example.org/a.jpg", url="https://example.org/a.jpg"), "")
