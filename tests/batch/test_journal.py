"""A job that is killed at any byte loses no photo and does none twice."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.batch.engine import Outcome
from captioner.batch.items import Item
from captioner.batch.job import JobWriter, plan
from captioner.batch.journal import Journal, read_records
from captioner.batch.name_set import NameSet
from captioner.batch.progress import Progress, Tally
from captioner.errors import CaptionerError, DataError


def record(name):
    return {"file": name, "image_id": None, "caption": f"A photo of {name} – ünï."}


def do(path, names, *, size=4, batches=None, fails=(), **options):
    """One run of a job that 'captions' items by their names; at most `batches` batches of it."""
    writer = JobWriter(journal=Journal(path, **options))
    tally = Tally()
    done = []
    items = [Item(name) for name in names]
    planned = list(plan(items, size, writer.journal, tally))
    writer.journal.begin({"beams": 3})
    for batch in planned[:batches]:
        outcomes = [
            Outcome(i, error=f"{i.name} is bad.") if i.name in fails else Outcome(i, record(i.name))
            for i in batch
        ]
        writer.write(outcomes, tally, Progress(tally, quiet=True, bar=False))
        done.append([i.name for i in batch])
    writer.close()
    return done, tally


NAMES = [f"{i}.jpg" for i in range(11)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_file_cut_at_any_byte_is_continued(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("job") / "captions.jsonl"
    do(path, NAMES, fails=("3.jpg",))
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    do(path, NAMES, fails=("3.jpg",))
    assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())
    assert path.read_bytes().endswith(b"\n")


def test_a_run_that_stops_continues_with_the_very_batches_it_had_not_done(tmp_path):
    path = tmp_path / "captions.jsonl"
    whole, _ = do(tmp_path / "whole.jsonl", NAMES, fails=("1.jpg",))
    first, _ = do(path, NAMES, batches=1, fails=("1.jpg",))
    rest, tally = do(path, NAMES, fails=("1.jpg",))
    assert first + rest == whole
    assert (tally.before, tally.failed_before, tally.captioned) == (3, 1, 7)


def test_a_torn_batch_is_captioned_as_it_was_and_written_once(tmp_path):
    """Its photos go through the model together again, so that no digit differs."""
    path = tmp_path / "captions.jsonl"
    do(path, NAMES)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]) + lines[6][:20])  # 4.jpg and 5.jpg of the second batch
    batches, _ = do(path, NAMES)
    assert batches[0] == NAMES[4:8]
    assert [r["file"] for r in read_records(path)] == NAMES


def test_new_photos_here_and_there_go_together(tmp_path):
    path = tmp_path / "captions.jsonl"
    do(path, [n for n in NAMES if n not in ("0.jpg", "5.jpg", "9.jpg")])
    path.write_bytes(path.read_bytes() + json.dumps(record("z.jpg")).encode() + b"\n")
    batches, _ = do(path, NAMES)
    assert batches == [["0.jpg", "5.jpg", "9.jpg"]]


def test_failures_wait_for_retry_failed_and_go_when_they_succeed(tmp_path):
    path = tmp_path / "captions.jsonl"
    errors = tmp_path / "captions.errors.jsonl"
    do(path, NAMES, fails=("1.jpg", "2.jpg"))
    assert [json.loads(x)["file"] for x in errors.read_text().splitlines()] == ["1.jpg", "2.jpg"]
    batches, tally = do(path, NAMES)
    assert batches == [] and tally.failed_before == 2 and tally.status() == 1
    batches, tally = do(path, NAMES, fails=("2.jpg",), retry_failed=True)
    assert batches == [["1.jpg", "2.jpg"]] and (tally.captioned, tally.failed) == (1, 1)
    (line,) = errors.read_text().splitlines()
    assert json.loads(line) == {"file": "2.jpg", "image_id": None, "error": "2.jpg is bad."}
    do(path, NAMES, retry_failed=True)
    assert not errors.exists()
    assert sorted(r["file"] for r in read_records(path)) == sorted(NAMES)


def test_overwrite_drops_what_was_there_when_work_begins(tmp_path):
    path = tmp_path / "captions.jsonl"
    do(path, NAMES)
    before = path.read_bytes()
    journal = Journal(path, overwrite=True)
    assert path.read_bytes() == before, "a model that cannot be loaded must cost nothing"
    journal.begin({})
    journal.close()
    assert path.read_bytes() == b""


def test_a_change_of_settings_is_told(tmp_path):
    path = tmp_path / "captions.jsonl"
    do(path, NAMES)
    journal = Journal(path)
    assert journal.changes({"beams": 5}) == ["beams was 3 and is 5"]
    journal.begin({"beams": 5})
    journal.close()
    journal = Journal(path)
    assert journal.changes({"beams": 5}) == []
    journal.close()


def test_a_second_run_on_one_output_is_refused_and_a_dead_one_does_not_block(tmp_path):
    path = tmp_path / "captions.jsonl"
    code = (
        "import sys; from pathlib import Path; from captioner.batch.journal import Journal;"
        "Journal(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert other.stdout.readline() == b"open\n"
    with pytest.raises(CaptionerError, match=r"Another run is writing .*captions\.jsonl"):
        Journal(path)
    other.kill()
    other.wait()
    Journal(path).close()


@pytest.mark.parametrize("content", [b"not json\n", b'{"a": 1}\n', b"[]\n", b"\xff\xfe\n"])
def test_another_file_is_not_written_to(tmp_path, content):
    path = tmp_path / "captions.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="line 1 is not a record"):
        Journal(path)
    assert path.read_bytes() == content


def test_a_full_disk_is_a_sentence(tmp_path):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("this machine has no /dev/full")
    journal = Journal(tmp_path / "captions.jsonl")
    journal.begin({})
    os.dup2(os.open("/dev/full", os.O_WRONLY), journal._files[0])
    with pytest.raises(CaptionerError, match=r"No space left.*the same command continues"):
        journal.write([record("a.jpg")], [])


def test_names_that_are_not_text_come_back(tmp_path):
    path = tmp_path / "captions.jsonl"
    name = os.fsdecode(b"latin-\xe9\n.jpg")
    do(path, [name, "ünï.jpg"])
    done = Journal(path).done
    assert name in done and "ünï.jpg" in done and len(done) == 2
    assert "ünï.jpg" in path.read_text(encoding="utf-8")


def test_names_are_remembered_in_few_bytes():
    names = NameSet()
    for number in range(120_000):
        assert names.add(f"photos/{number}.jpg")
    assert len(names) == 120_000
    assert not names.add("photos/0.jpg") and not names.add("photos/119999.jpg")
    assert "photos/77777.jpg" in names and "photos/120000.jpg" not in names and "" not in names
    assert len(names) == 120_000


@pytest.mark.parametrize(
    "spoiled",
    [
        b'{"file": "b.jpg", "caption": "A dog.", "wo\0\0\0\0"}\n',
        b'{"file": "b.jpg", "caption": "A d{"file": "c.jpg", "caption": "A cat."}\n',
        b'{"file": "b.jpg", "caption": "A \xff dog."}\n',
        b'{"file": "b.jpg", "image_id": 3}\n',
    ],
    ids=["zeros", "two lines in one", "no text", "no caption"],
)
def test_a_spoiled_line_is_noticed_when_the_job_goes_on(tmp_path, spoiled):
    path = tmp_path / "captions.jsonl"
    path.write_bytes(b'{"file": "a.jpg", "caption": "A dog."}\n' + spoiled)
    with pytest.raises(DataError, match="line 2 is not a record"):
        Journal(path)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told by Linux")
def test_a_million_names_go_on_in_seconds_and_little_memory(tmp_path):
    """The planning of a job of which all is done: processor time, and memory at the most."""
    from eval.batch import measure_journal

    _, user, system, megabytes = measure_journal(tmp_path, 1_000_000)
    assert megabytes < 200 and user + system < 20, (user, system, megabytes)
