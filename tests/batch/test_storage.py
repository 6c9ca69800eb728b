"""Photos in an S3 server on this machine, behind a proxy that makes faults."""

import gzip
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from captioner.batch import storage
from captioner.batch.addresses import redacted
from captioner.batch.items import open_item
from captioner.batch.sources import Ignored, check_paths, find_items
from captioner.cli import app
from captioner.errors import CaptionerError, PhotoError
from captioner.photos import Limits

from .test_command import lines
from .test_sources import decoded, names, photo

SECRET = "geheim/Schluessel+1"


class Proxy(BaseHTTPRequestHandler):
    """In front of the server: what it does follows from the key's name."""

    protocol_version = "HTTP/1.1"
    behind = ("", 0)
    asked: ClassVar[Counter] = Counter()

    def do_GET(self):
        key = self.path.partition("?")[0].rsplit("/", 1)[-1]
        fetched = self.command == "GET"
        if fetched:
            Proxy.asked[key, self.headers.get("Range", "")] += 1
        times = sum(n for (name, _), n in Proxy.asked.items() if name == key)
        if fetched and (key == "down.jpg" or (key == "busy.jpg" and times < 3)):
            return self._say(503, b"<Error><Code>SlowDown</Code></Error>")
        if fetched and key == "gone.jpg":
            return self._say(404, b"<Error><Code>NoSuchKey</Code></Error>")
        server = http.client.HTTPConnection(*self.behind)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.request(self.command, self.path, body, dict(self.headers))
        answer = server.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if key == "slow.jpg":
            for at in range(len(data)):
                self.wfile.write(data[at : at + 1])
                time.sleep(0.5)
        else:
            self.wfile.write(data)

    do_HEAD = do_PUT = do_POST = do_GET

    def _say(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def tar_of(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def zip_of(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


SHARD = {"000.jpg": photo(), "000.txt": b"words", "001.png": photo("blue", "PNG")}
KEYS = {
    "photos/": b"",
    "photos/b.jpg": photo(),
    "photos/a b#%20é::x.jpg": photo("green"),
    "photos/.hidden.jpg": photo(),
    "photos/notes.md": b"",
    "photos/shard.tar": b"",
    "photos/sub/c.JPG": photo("blue"),
    "faults/busy.jpg": photo(),
    "faults/down.jpg": photo(),
    "faults/gone.jpg": photo(),
    "faults/slow.jpg": photo(),
    "faults/empty.jpg": b"",
    "shards/00.tar": tar_of(SHARD),
    "shards/01.tar.gz": gzip.compress(tar_of(SHARD)),
    "shards/02.zip": zip_of(SHARD),
    "shards/cut.tar": tar_of(SHARD)[:1500],
}


@pytest.fixture(scope="module")
def bucket(forty):
    """The address of a bucket with KEYS and the forty photos in it."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    import boto3

    behind = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    behind.start()
    Proxy.behind = behind.get_host_and_port()
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy, pytest.MonkeyPatch.context() as set:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        set.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
        set.setenv("AWS_ACCESS_KEY_ID", "somebody")
        set.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        set.setenv("AWS_DEFAULT_REGION", "us-east-1")
        set.setenv("AWS_MAX_ATTEMPTS", "1")
        set.setenv("NO_PROXY", "*")
        client = boto3.client("s3")
        client.create_bucket(Bucket="photos")
        for key, data in KEYS.items():
            client.put_object(Bucket="photos", Key=key, Body=data)
        for file in forty.rglob("*.jpg"):
            name = str(file.relative_to(forty))
            client.put_object(Bucket="photos", Key=f"forty/{name}", Body=file.read_bytes())
        yield "s3://photos"
        proxy.shutdown()
    behind.stop()


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(storage.retries, "pause", lambda attempt: 0.0)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 2)  # it tries again by itself, too


def test_a_folder_gives_its_photos_as_one_on_the_disk_does(bucket):
    ignored = Ignored()
    items = list(find_items([f"{bucket}/photos", f"{bucket}/photos/b.jpg"], ignored=ignored))
    places = ["a b#%20é::x.jpg", "b.jpg", "sub/c.JPG"]
    assert names(items) == [f"{bucket}/photos/{place}" for place in places]
    assert [item.place for item in items] == places
    assert ignored == {"hidden": 1, "not a photo": 1, "archives": 1, "named twice": 1}
    assert [decoded(item).width for item in items] == [24, 24, 24]


def test_patterns(bucket):
    assert names(find_items([f"{bucket}/photos/*.jpg"])) == [
        f"{bucket}/photos/{name}" for name in ("a b#%20é::x.jpg", "b.jpg")
    ]
    assert len(list(find_items([f"{bucket}/*/*.[jJ][pP]*g"]))) >= 7
    (none,) = find_items([f"{bucket}/photos/*.webp"])
    assert "No file fits" in none.problem


def test_a_path_that_leads_nowhere_is_told_at_once(bucket):
    check_paths([f"{bucket}/photos", f"{bucket}/photos/b.jpg", f"{bucket}/photos/*.jpg"])
    for path in ("s3://photos/none", "s3://no-such-bucket/x", "s3://photos/none.jpg"):
        with pytest.raises(PhotoError, match=f"There is no file or folder {path}"):
            check_paths([path])


@pytest.mark.parametrize("shard", ["00.tar", "01.tar.gz", "02.zip"])
def test_archives_give_their_photos(bucket, shard):
    items = list(find_items([f"{bucket}/shards/{shard}"]))
    assert names(items) == [f"{bucket}/shards/{shard}/{name}" for name in ("000.jpg", "001.png")]
    assert [item.place for item in items] == [f"{shard}/000.jpg", f"{shard}/001.png"]
    assert [open_item(item, Limits()).read() for item in items] == [photo(), SHARD["001.png"]]
    if shard == "00.tar":  # what finds it does not carry its bytes
        assert all(item.data is None and item.span for item in items)


def test_a_shard_that_is_cut_short_is_one_error_after_what_could_be_read(bucket):
    *_, last = find_items([f"{bucket}/shards/cut.tar"])
    with pytest.raises(PhotoError, match=r"cut\.tar.*cut short"):
        open_item(last, Limits())


def test_an_address_of_a_photo_costs_one_request(bucket):
    Proxy.asked.clear()
    (item,) = find_items([f"{bucket}/photos/b.jpg"])
    assert not Proxy.asked
    assert open_item(item, Limits()).read() == photo()
    assert Proxy.asked.total() == 1


def test_large_files_come_in_parts_and_too_large_ones_not_at_all(bucket, monkeypatch):
    monkeypatch.setattr(storage, "PART", 100)
    address, whole = f"{bucket}/photos/b.jpg", photo()
    assert len(whole) > 300
    Proxy.asked.clear()
    assert storage.read(address, 10**6) == whole
    assert len(Proxy.asked) == -(-len(whole) // 100)
    Proxy.asked.clear()
    with pytest.raises(PhotoError, match=f"more than the {len(whole) - 1:,} bytes allowed"):
        storage.read(address, len(whole) - 1)
    with pytest.raises(PhotoError, match="more than the 20 bytes allowed"):
        storage.read(address, 20)
    assert len(Proxy.asked) == 2  # no more than the first part is fetched
    assert storage.read(address, len(whole)) == whole
    assert storage.read(f"{bucket}/faults/empty.jpg", 10) == b""


def test_a_busy_server_is_asked_again_and_not_for_ever(bucket, no_pauses):
    Proxy.asked.clear()
    assert storage.read(f"{bucket}/faults/busy.jpg", 10**6) == photo()
    with pytest.raises(storage.UnreachableError, match=r"down\.jpg cannot be read: .*"):
        storage.read(f"{bucket}/faults/down.jpg", 10**6)
    assert sum(n for (key, _), n in Proxy.asked.items() if key == "down.jpg") <= 40


def test_a_vanished_key_is_told_at_once(bucket):
    Proxy.asked.clear()
    with pytest.raises(PhotoError, match=r"gone\.jpg does not exist"):
        storage.read(f"{bucket}/faults/gone.jpg", 10**6)
    assert Proxy.asked.total() == 1


def test_a_slow_body_is_given_up(bucket, no_pauses, monkeypatch):
    monkeypatch.setattr(storage, "TOTAL", 1.0)
    began = time.monotonic()
    with pytest.raises(storage.UnreachableError, match="takes longer than"):
        storage.read(f"{bucket}/faults/slow.jpg", 10**6)
    assert time.monotonic() - began < 10


def test_a_place_that_does_not_answer_ends_the_search_and_is_no_photos_fault(
    bucket, no_pauses, monkeypatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    storage._opened("s3://photos")[0].clear_instance_cache()
    with pytest.raises(CaptionerError, match="the same command continues"):
        list(find_items([f"{bucket}/photos"]))
    storage._opened("s3://photos")[0].clear_instance_cache()


def test_a_missing_driver_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    storage._check_scheme.cache_clear()
    for look in (check_paths, lambda paths: list(find_items(paths))):
        with pytest.raises(CaptionerError, match="pip install gcsfs"):
            look(["gs://bucket/photos/a.jpg"])


@pytest.mark.parametrize("path", ["file:///etc/hosts", "s3:/b/x", "zip://a::s3://b", "x::s3://b"])
def test_what_is_no_storage(path):
    assert not storage.is_storage(path)


@pytest.mark.parametrize(
    "address, shown",
    [
        ("s3://bucket/a@b.jpg", "s3://bucket/a@b.jpg"),
        (f"ftp://me:{SECRET}@host/a.jpg", "ftp://host/a.jpg"),
        ("sftp://host:22/me@home/a.jpg", "sftp://host:22/me@home/a.jpg"),
        ("abfs://container@account.dfs/a.jpg", "abfs://container@account.dfs/a.jpg"),
        ("hf://datasets/me/set@main/a.jpg", "hf://datasets/me/set@main/a.jpg"),
        ("https://token@host/a.jpg", "https://host/a.jpg"),
        (
            "https://h/a?id=1&X-Amz-Signature=a1&v=2&sig=x%3D",
            "https://h/a?id=1&X-Amz-Signature=REDACTED&v=2&sig=REDACTED",
        ),
        ("x failed: https://h/?token=abc; s", "x failed: https://h/?token=REDACTED; s"),
    ],
)
def test_addresses_are_shown_without_what_lets_one_in(address, shown):
    assert redacted(address) == shown


def test_passwords_are_in_no_name_and_no_sentence(no_pauses):
    address = "ftp://somebody:hunter2@127.0.0.1:1/a.jpg"
    (item,) = find_items([address])
    assert item.name == "ftp://127.0.0.1:1/a.jpg"
    with pytest.raises(PhotoError) as found:
        open_item(item, Limits())
    assert "hunter2" not in str(found.value) and "127.0.0.1:1/a.jpg cannot be" in str(found.value)


def test_an_object_that_was_being_appended_to_keeps_nothing_of_it_after_a_kill(bucket):
    """Why the journal is on a disk."""
    script = f"""
import os, signal, s3fs
file = s3fs.S3FileSystem().open("{bucket}/shards/journal.jsonl", "ab")
file.write(b"second\\n")
file.flush()
os.kill(os.getpid(), signal.SIGKILL)"""
    driver, path = storage._opened(f"{bucket}/shards/journal.jsonl")
    driver.pipe_file(path, b"first\n")
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert storage.read(f"{bucket}/shards/journal.jsonl", 100) == b"first\n"


# The job ------------------------------------------------------------------------------------------


def caption(*arguments):
    done = CliRunner().invoke(app, ["caption", *map(str, arguments), "--batch-size", "4"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def captions(path):
    return {r["file"].rpartition("forty/")[2]: r["caption"] for r in map(json.loads, lines(path))}


@pytest.fixture
def local(tiny, forty, tmp_path):
    """The captions of the forty photos on the disk, by their places."""
    out = tmp_path / "local.jsonl"
    assert caption(forty, "-o", out, "--model", tiny).exit_code == 0
    return {os.path.relpath(r["file"], forty): r["caption"] for r in map(json.loads, lines(out))}


@pytest.mark.slow
def test_a_job_killed_continues_to_the_captions_of_a_local_one(bucket, tiny, local, tmp_path):
    out = tmp_path / "captions.jsonl"
    arguments = ["caption", f"{bucket}/forty", "-o", out, "--model", tiny, "--batch-size", "4"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "captioner.cli", *map(str, arguments)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while killed.poll() is None and not (out.exists() and lines(out)):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    begun = lines(out)
    assert begun
    assert caption(*arguments[1:-2]).exit_code == 0
    assert lines(out)[: len(begun)] == begun and len(lines(out)) == 40
    assert captions(out) == local
    assert {p.name for p in tmp_path.iterdir()} >= {"captions.jsonl", "captions.run.json"}


def test_faults_are_those_of_their_photos(bucket, tiny, tmp_path):
    out, listed = tmp_path / "captions.jsonl", tmp_path / "list"
    keys = ["faults/gone.jpg", "faults/busy.jpg", "photos/b.jpg", "faults/empty.jpg"]
    listed.write_text("".join(f"{bucket}/{key}\n" for key in keys))
    Proxy.asked.clear()
    done = caption("--from", listed, "-o", out, "--model", tiny)
    assert done.exit_code == 1
    assert {json.loads(one)["file"] for one in lines(out)} == {
        f"{bucket}/faults/busy.jpg", f"{bucket}/photos/b.jpg",
    }  # fmt: skip
    errors = [json.loads(one) for one in lines(out.with_suffix(".errors.jsonl"))]
    assert {one["file"].rpartition("/")[2] for one in errors} == {"gone.jpg", "empty.jpg"}
    told = done.output + "".join(p.read_text() for p in tmp_path.iterdir())
    assert SECRET not in told and "somebody" not in told


@pytest.mark.long
def test_actors_read_a_shard_by_themselves(bucket, cluster, tiny, forty, tmp_path):
    import boto3

    shard = tar_of({f"{p.stem}.jpg": p.read_bytes() for p in sorted(forty.rglob("*.jpg"))})
    (tmp_path / "forty.tar").write_bytes(shard)
    boto3.client("s3").put_object(Bucket="photos", Key="forty.tar", Body=shard)
    outs = [tmp_path / "here.jsonl", tmp_path / "there.jsonl"]
    same = ["--model", tiny, "--ordered"]
    assert caption(tmp_path / "forty.tar", "-o", outs[0], *same).exit_code == 0
    Proxy.asked.clear()
    done = caption(f"{bucket}/forty.tar", "-o", outs[1], *same, "--engine", "ray", "--workers", "2")
    assert done.exit_code == 0
    here, there = ([json.loads(line)["caption"] for line in lines(out)] for out in outs)
    assert len(here) == 40 and here == there
    assert len(Proxy.asked) >= 40  # each photo is a range of its own


@pytest.mark.parametrize("option", ["-o", "--heatmaps"])
def test_results_are_not_written_into_a_storage(bucket, tiny, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        app, ["caption", f"{bucket}/photos", option, "s3://photos/x.jsonl", "--model", str(tiny)]
    )
    assert "s3://photos/x.jsonl is an address: name a file here" in str(done.exception)
    assert not list(tmp_path.iterdir())
