"""What a job decides, without a command line or a model; and that it costs nobody a file."""

import contextlib
import io
import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from captioner.batch.decode import Captioned
from captioner.batch.engine import Outcome
from captioner.batch.job import run_job
from captioner.batch.journal import Journal, is_journal, is_run_file
from captioner.batch.progress import Progress, Tally
from captioner.batch.sources import Ignored
from captioner.batch.spec import JobSpec
from captioner.errors import CaptionerError, SettingError
from captioner.options import flags
from captioner.outputs import is_sheet, sheet_mark
from captioner.request import Request


def png(colour="red", **options):
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(stream, "PNG", **options)
    return stream.getvalue()


SHEET = png("white", pnginfo=sheet_mark())


class Fake:
    """An engine that gives every photo the same caption."""

    def __init__(self, config, first):
        self.config = config
        self.settings = {"captioner": "0"}
        self.notes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, batches, stop):
        for batch in batches:
            yield [self._outcome(item) for item in batch]

    def _outcome(self, item):
        if self.config.skip and (place := self.config.skip(item)):
            return Outcome(item, left_out=place)
        record = {
            "file": item.name, "image_id": item.image_id, "caption": "A cat.", "confidence": 0.5,
            "words": [], "alternatives": [], "model": "fake", "version": "1", "width": 8,
            "height": 6,
        }  # fmt: skip
        return Outcome(item, record, picture=SHEET if self.config.request.heatmaps else None)


def do(**options):
    """Run a job; its tally, and the sentences of what failed."""
    spec = JobSpec(**options)
    tally = Tally()
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        run_job(spec, spec.check(), Fake, tally, Progress(tally, quiet=False, bar=False), bool)
    return tally, said.getvalue()


def everything(folder):
    """All that is in a folder: its names and their bytes."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# What is decided ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, kind, records, table",
    [
        ({}, "", None, None),
        ({"output": "x.jsonl"}, "jsonl", "x.jsonl", None),
        ({"output": "x.csv"}, "csv", "x.jsonl", "x.csv"),
        ({"output": "x.json"}, "coco", "x.jsonl", "x.json"),
        ({"output": "x.dat", "format": "csv"}, "csv", "x.jsonl", "x.dat"),
        ({"output": "out", "format": "txt"}, "txt", "out/captions.jsonl", None),
        ({"format": "txt"}, "txt", None, None),
    ],
)
def test_the_destination(options, kind, records, table):
    options |= {"output": Path(options["output"])} if "output" in options else {}
    spec = JobSpec(**options)
    assert (spec.kind, spec.records, spec.table) == (
        kind, records and Path(records), table and Path(table)
    )  # fmt: skip


def test_what_is_printed_skipped_and_ordered():
    printing = JobSpec(paths=("a.jpg",))
    assert printing.printed == "text" and printing.skip is None
    assert printing.config.ordered and not printing.config.steady
    assert JobSpec(as_json=True).printed == "json"
    kept = JobSpec(output=Path("x.csv"))
    assert kept.printed is None and not kept.config.ordered and kept.config.steady
    beside = JobSpec(format="txt")
    assert beside.in_place and beside.printed is None
    assert beside.skip == Captioned(texts=True, inside=False)
    assert JobSpec(format="txt", overwrite=True).skip is None
    assert JobSpec(write_metadata=True).skip == Captioned(texts=False, inside=True)
    assert JobSpec(output=Path("out"), format="txt", skip_captioned=True).skip.folder == Path("out")


def test_heatmaps_are_made_for_contact_sheets_only():
    assert not JobSpec(request=Request(beams=4)).config.request.heatmaps
    made = JobSpec(request=Request(beams=4), sheets=Path("sheets")).config.request
    assert made.heatmaps == "attention" and made.beams == 4
    evidence = Request(heatmaps="evidence")
    assert JobSpec(request=evidence, sheets=Path("sheets")).config.request == evidence


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"batch_size": 0}, "--batch-size must be at least 1"),
        ({"threads": 0}, "--threads must be at least 1"),
        ({"threads": 1, "engine": "ray"}, "--threads is for this machine; --engine ray has"),
        ({"output": "x.jsonl", "as_json": True}, "--json prints the captions; with -o"),
        ({"annotations": Path("x"), "from_list": "y"}, "--annotations names .* leave --from out"),
        ({"split": "test"}, "--split goes with --annotations"),
        ({"sheets": "{photo}"}, "--heatmaps .* is to be a folder"),
        ({"request": Request(heatmaps="evidence")}, "--maps goes with --heatmaps"),
    ],
)
def test_sentences_name_the_options(tmp_path, options, sentence):
    (photo := tmp_path / "a.png").write_bytes(png())
    for name in ("output", "sheets"):
        if name in options:
            options = {**options, name: Path(options[name].replace("{photo}", str(photo)))}
    with pytest.raises(SettingError) as error:
        JobSpec(paths=(str(photo),), **options).check()
    assert re.search(sentence, error.value.with_names(flags(JobSpec)))


# Nothing of a person's is lost --------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of photos, with what people have beside them; the current folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.jpg"):
        (folder / name).write_bytes(png("blue" if name == "a.png" else "green"))
    (folder / "list.txt").write_text("a.png\nb.png\n")
    (folder / "refs.json").write_text('{"images": [{"id": 1, "file_name": "a.png"}]}')
    (folder / "refs.jsonl").write_text("a.png\n")
    (folder / "x.run.json").write_text('{"images": [{"id": 1, "file_name": "a.png"}]}')
    (folder / "x.errors.jsonl").write_text("b.png\n")
    (folder / "photos.zip").write_bytes(b"PK\5\6" + bytes(18))
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "hard.png").hardlink_to(folder / "a.png")
    (folder / "soft.png").symlink_to(folder / "a.png")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {"paths": ("a.png", "b.png"), "output": "b.png"},
        {"paths": ("a.png", "b.png"), "output": "b.png", "format": "csv"},
        {"paths": ("a.png",), "output": "hard.png"},
        {"paths": ("a.png",), "output": "soft.png"},
        {"paths": (".",), "output": "b.png"},
        {"paths": ("*.png",), "output": "b.png", "format": "csv"},
        {"from_list": "list.txt", "output": "list.txt"},
        {"from_list": "list.txt", "output": "b.png"},
        {"from_list": "refs.jsonl", "output": "refs.csv"},
        {"from_list": "x.errors.jsonl", "output": "x.csv"},
        {"annotations": Path("refs.json"), "output": "refs.json"},
        {"annotations": Path("refs.json"), "output": "a.png"},
        {"annotations": Path("x.run.json"), "output": "x.csv"},
        {"paths": ("photos.zip",), "output": "photos.zip"},
        {"paths": ("a.png",), "model": "model", "output": "model/config.json"},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_named_output_never_replaces_an_input(photos, options, overwrite):
    before = everything(photos)
    with pytest.raises(CaptionerError) as refused:
        JobSpec(**{**options, "output": Path(options["output"]), "overwrite": overwrite}).check()
    assert everything(photos) == before
    if overwrite:
        assert "is an input of this command" in str(refused.value)


@pytest.mark.parametrize(
    "name, output", [("x.csv", "x.csv"), ("x.json", "x.json"), ("x.run.json", "x.csv"),
                     ("x.errors.jsonl", "x.csv"), ("x.jsonl", "x.csv"), ("x.jsonl", "x.jsonl")],
)  # fmt: skip
def test_another_file_is_replaced_only_with_overwrite(tmp_path, name, output):
    (tmp_path / "a.jpg").write_bytes(png())
    (tmp_path / name).write_text('[{"image_id": 1, "caption": "My own."}]')
    spec = {"paths": (str(tmp_path / "a.jpg"),), "output": tmp_path / output}
    with pytest.raises(CaptionerError, match=r"was not made by this job; .* give --overwrite"):
        JobSpec(**spec).check()
    assert do(**spec, overwrite=True)[0].captioned == 1


def test_a_table_beside_a_job_of_another_kind_is_not_taken_for_ours(tmp_path):
    """The job made captions.csv; captions.json is somebody's annotations."""
    (tmp_path / "a.jpg").write_bytes(png())
    spec = {"paths": (str(tmp_path / "a.jpg"),)}
    do(**spec, output=tmp_path / "captions.csv")
    (tmp_path / "captions.json").write_text('{"images": []}')
    with pytest.raises(CaptionerError, match=r"captions\.json, .* was not made by this job"):
        JobSpec(**spec, output=tmp_path / "captions.json").check()
    (tmp_path / "captions.csv").write_text("file,image_id,caption,confidence\n")
    JobSpec(**spec, output=tmp_path / "captions.csv").check()


def test_what_comes_on_standard_input_may_be_what_would_be_replaced(tmp_path):
    (tmp_path / "a.jpg").write_bytes(png())
    spec = JobSpec(from_list="-", output=tmp_path / "a.jpg", overwrite=True)
    with pytest.raises(CaptionerError, match="standard input"):
        spec.check()
    JobSpec(from_list="-", output=tmp_path / "new.csv", overwrite=True).check()


def test_a_job_s_errors_are_no_records_of_another(tmp_path):
    (tmp_path / "x.errors.jsonl").write_text('{"file": "a.jpg", "error": "It is bad."}\n')
    with pytest.raises(CaptionerError, match="line 1 is not a record"):
        Journal(tmp_path / "x.errors.jsonl")


def test_what_a_killed_run_leaves_is_recognised_wherever_it_is_cut(tmp_path):
    path = tmp_path / "x.jsonl"
    line = b'{"file": "a.jpg", "image_id": null, "caption": "A cat."}\n'
    for size in range(len(line) + 1):
        path.write_bytes(line[:size])
        assert is_journal(path)
    path.write_bytes(b"[1]\n")
    assert not is_journal(path)
    for text, ours in ((b"", True), (bytes(90), True), (b'{"captioner": "1"}', True),
                       (b"{}", False), (b"mine", False)):  # fmt: skip
        path.write_bytes(text)
        assert is_run_file(path) is ours


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("named", ["a.png", ".", "*.png"])
def test_a_contact_sheet_never_replaces_a_photo(photos, named, overwrite):
    before = everything(photos)
    tally, said = do(paths=(named,), sheets=Path(), overwrite=overwrite)
    assert everything(photos).items() >= before.items()
    assert tally.failed >= 1 and "a.png, which is an input of this command" in said
    if named == ".":  # c.jpg has nothing in its way
        assert is_sheet(photos / "c.png")


def test_the_sheet_of_one_photo_never_replaces_another(photos):
    (photos / "a.jpg").write_bytes(png("yellow"))  # its sheet is called a.png
    before = everything(photos)
    for overwrite in (False, True):
        tally, said = do(paths=("a.jpg", "a.png"), sheets=photos, overwrite=overwrite)
        assert tally.failed >= 1 and "The contact sheet of a.jpg would replace" in said
        assert everything(photos).items() >= before.items()
    tally, said = do(paths=(".",), sheets=photos / "." / ".." / "photos", overwrite=True)
    assert everything(photos).items() >= before.items()


def test_a_sheet_replaces_a_sheet_and_other_pictures_only_with_overwrite(photos, tmp_path):
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    (sheets / "a.png").write_bytes(mine := png("pink"))
    tally, said = do(paths=("a.png",), sheets=sheets)
    assert tally.failed == 1 and "was not made by this job" in said and "Traceback" not in said
    assert (sheets / "a.png").read_bytes() == mine
    for overwrite in (True, False):  # the second time it is our own
        assert do(paths=("a.png",), sheets=sheets, overwrite=overwrite)[0].captioned == 1
        assert (sheets / "a.png").read_bytes() == SHEET


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("named", ["photo.txt", "photo.png"])
def test_a_photo_named_like_a_text_is_no_caption(tmp_path, named, overwrite):
    (photo := tmp_path / "photo.txt").write_bytes(jpeg := png("red"))
    (tmp_path / "photo.png").write_bytes(png("blue"))
    tally, said = do(paths=(str(tmp_path / named),), format="txt", overwrite=overwrite)
    assert photo.read_bytes() == jpeg
    assert (tally.failed, tally.left_out) == (1, 0)
    assert f"The text file of {tmp_path / named} would replace {photo}" in said


def test_the_list_of_the_photos_is_no_text_file_of_a_photo(photos):
    (photos / "list.jpg").write_bytes(png())
    (photos / "list.txt").write_text("list.jpg\n")
    for overwrite in (False, True):
        tally, _ = do(from_list="list.txt", format="txt", overwrite=overwrite)
        assert tally.captioned == 0
        assert (photos / "list.txt").read_text() == "list.jpg\n"


@pytest.mark.parametrize("blank", ["", "\n", " \r\n\t "])
def test_an_empty_text_file_is_filled(tmp_path, blank):
    (tmp_path / "a.jpg").write_bytes(png())
    (tmp_path / "a.txt").write_text(blank)
    for captioned in (1, 0):
        tally, said = do(paths=(str(tmp_path),), format="txt")
        assert (tally.captioned, tally.failed) == (captioned, 0), said
    assert (tmp_path / "a.txt").read_text() == "A cat.\n"


def test_names_that_are_not_text_go_through(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/latin-\xe9.jpg"))
    path.write_bytes(png())
    tally, said = do(paths=(str(path),), skip_captioned=True, output=tmp_path / "x.csv")
    assert tally.captioned == 1, said
    tally, said = do(paths=(str(path),), write_metadata=True)
    assert tally.captioned == 1 and b"A cat." in path.read_bytes(), said
    for options in ({"write_metadata": True}, {"skip_captioned": True}):
        tally, said = do(paths=(str(path),), **options)
        assert (tally.captioned, tally.left_out, tally.failed) == (0, 1, 0), said


def test_a_split_of_an_annotation_file_is_captioned(tmp_path):
    path = tmp_path / "karpathy.json"
    images = [
        {"cocoid": n, "filename": f"{n}.jpg", "split": split, "sentences": [{"raw": "A cat."}]}
        for n, split in enumerate(["train", "val", "test", "test"])
    ]
    path.write_text(json.dumps({"images": images}))
    for n in range(4):
        (tmp_path / f"{n}.jpg").write_bytes(b"x")
    found = {
        split: [item.image_id for item in JobSpec(annotations=path, split=split).find(Ignored())]
        for split in (None, "test", "val,test")
    }
    assert found == {None: [0, 1, 2, 3], "test": [2, 3], "val,test": [1, 2, 3]}
