"""What a large and ugly disk holds: every file accounted for, and memory that does not grow."""

import json
import tarfile
import threading

import pytest

from captioner.batch.progress import Progress, Tally
from tests.commands import run

from .corpus import make_corpus


@pytest.mark.slow
def test_a_corpus_of_broken_files_is_accounted_for(tiny, tmp_path):
    expected = make_corpus(tmp_path / "corpus")
    assert expected >= 300
    path = tmp_path / "captions.jsonl"
    done = run("caption", tmp_path / "corpus", "-o", path, "--model", tiny, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    good = [json.loads(line) for line in path.read_text().splitlines()]
    bad = [json.loads(x) for x in path.with_suffix(".errors.jsonl").read_text().splitlines()]
    files = [record["file"] for record in good + bad]
    assert len(files) == len(set(files)) == expected
    assert len(good) >= 80 and len(bad) >= 150
    # None hung or killed its decoder, and every reason is a sentence that names the file.
    for record in bad:
        assert "longer than" not in record["error"] and "crashed" not in record["error"]
        assert record["error"].endswith(".") and "\n" not in record["error"]
    assert "1 hidden" in done.stderr and "1 seen before" in done.stderr


@pytest.mark.long
def test_memory_is_flat(tiny, tmp_path):
    pytest.importorskip("resource", reason="peak memory is not told on this system")
    from eval.batch import measure_memory

    first, last = measure_memory(tiny, tmp_path, photos=3000, mark=1000)
    assert last - first < 20, (first, last)


def test_exit_status_tells_all_some_or_none():
    assert Tally(captioned=3).status() == 0
    assert Tally(captioned=3, failed=1).status() == 1
    assert Tally(failed=2).status() == 3
    assert Tally(before=3).status() == 0
    assert Tally(before=3, failed_before=1).status() == 1


@pytest.mark.slow
def test_photos_are_counted_when_the_first_have_their_captions():
    counted = threading.Event()
    progress = Progress(Tally(), quiet=False, bar=False)
    progress.begin(lambda: counted.set() or 7)
    assert not counted.wait(0.1)
    progress.update()
    assert counted.wait(5)


def test_a_tar_goes_through_the_command(tiny, forty, tmp_path):
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for photo in sorted(forty.rglob("*.jpg"))[:3]:
            tar.add(photo, photo.name)
    done = run("caption", tmp_path / "shard.tar", "--json", "--model", tiny)
    assert done.returncode == 0, done.stderr
    names = [json.loads(line)["file"] for line in done.stdout.splitlines()]
    assert names == [f"{tmp_path}/shard.tar/{n}" for n in ("00.jpg", "01.jpg", "02.jpg")]
