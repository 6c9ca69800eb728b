"""Where photos come from: everything named is found once, and what is ignored is counted."""

import gzip
import io
import json
import os
import tarfile
import threading
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from PIL import Image

from captioner.batch import archives, fetch
from captioner.batch.decode import Captioned, Decoded, Decoder, LeftOut
from captioner.batch.items import Item, open_item
from captioner.batch.sources import (
    Ignored,
    annotated_items,
    check_paths,
    find_items,
    read_list,
)
from captioner.errors import DataError, PhotoError
from captioner.photos import Limits


def photo(colour="red", format="JPEG"):
    stream = io.BytesIO()
    Image.new("RGB", (24, 16), colour).save(stream, format)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    (path / "sub").mkdir(parents=True)
    for name in ("b.jpg", "a.jpg", "sub/c.JPG"):
        (path / name).write_bytes(photo())
    return path


def names(items):
    return [item.name for item in items]


def decoded(item):
    return Decoder(8)(item)[1]


def test_folders_give_photos_in_order_and_count_the_rest(folder):
    (folder / ".hidden.jpg").write_bytes(photo())
    (folder / ".git").mkdir()
    (folder / "notes.txt").write_text("")
    (folder / "shard.tar").write_bytes(b"")
    (folder / "round").symlink_to(folder)
    ignored = Ignored()
    found = names(find_items([folder, folder / "a.jpg"], ignored=ignored))
    assert found == [str(folder / n) for n in ("a.jpg", "b.jpg", "sub/c.JPG")]
    assert ignored == {
        "hidden": 2, "not a photo": 1, "archives": 1, "seen before": 1, "named twice": 1,
    }  # fmt: skip


def test_patterns_are_expanded_unless_a_file_has_that_very_name(folder):
    assert names(find_items([f"{folder}/*.jpg"])) == [str(folder / n) for n in ("a.jpg", "b.jpg")]
    assert len(names(find_items([f"{folder}/**/*.[jJ][pP][gG]"]))) == 3
    (folder / "[x].jpg").write_bytes(photo())
    assert names(find_items([f"{folder}/[x].jpg"])) == [f"{folder}/[x].jpg"]
    check_paths([f"{folder}/*.jpg", "https://example.org/x.jpg", str(folder)])
    for path in (f"{folder}/*.webp", f"{folder}/none.jpg"):
        with pytest.raises(PhotoError, match=r"No file fits|no file or folder"):
            check_paths([path])


def test_a_folder_without_permission_is_accounted_for(folder, monkeypatch):
    def walk(top, followlinks, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder / "locked")))
        return iter(())

    monkeypatch.setattr(os, "walk", walk)
    (item,) = find_items([folder])
    with pytest.raises(PhotoError, match=r"The folder .*locked cannot be opened: no permission"):
        open_item(item, Limits())


@pytest.mark.parametrize("suffix, mode", [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz")])
def test_tars_give_their_photos_without_writing_anything(tmp_path, suffix, mode):
    path = tmp_path / f"shard{suffix}"
    with tarfile.open(path, mode) as tar:
        for name in ("000.jpg", "000.txt", "../../up.png", ".hidden.jpg", "__MACOSX/x.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(photo())
            tar.addfile(member, io.BytesIO(photo()))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    before = sorted(tmp_path.iterdir())
    ignored = Ignored()
    items = list(find_items([path], ignored=ignored))
    assert names(items) == [f"{path}/000.jpg", f"{path}/../../up.png"]
    assert all((decoded(i).width, decoded(i).height) == (24, 16) for i in items)
    assert ignored == {"hidden": 2, "not a photo": 2}
    assert [i.place for i in items] == [f"shard{suffix}/000.jpg", f"shard{suffix}/up.png"]
    assert sorted(tmp_path.iterdir()) == before


def test_zips_give_their_photos_within_limits(tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.jpg", photo())
        archive.writestr("bomb.jpg", bytes(10_000_000))
        archive.writestr("readme.md", "")
    items = list(find_items([path]))
    assert names(items) == [f"{path}/a/b.jpg", f"{path}/bomb.jpg"]
    assert decoded(items[0]).name == "b.jpg"
    with pytest.raises(PhotoError, match=r"bomb\.jpg is too large a file"):
        open_item(items[1], Limits(max_bytes=1_000_000))


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_a_damaged_archive_is_one_error_after_what_could_be_read(tmp_path, kind):
    path = tmp_path / f"cut.{kind}"
    if kind == "zip":
        path.write_bytes(b"PK\x03\x04 and no more")
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as tar:
            for i in range(3):
                data = os.urandom(30_000)
                member = tarfile.TarInfo(f"{i}.jpg")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        path.write_bytes(path.read_bytes()[:45_000])
    *_, last = find_items([path])
    with pytest.raises(PhotoError, match=r"cut\..*(damaged or cut short|ends before)|is cut short"):
        Decoder(8)(last)


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_tar_with_a_byte_flipped_in_a_header_is_told_after_the_photos_before_it(tmp_path, kind):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for i in range(6):
            member = tarfile.TarInfo(f"{i}.jpg")
            member.size = len(photo())
            tar.addfile(member, io.BytesIO(photo()))
    data = bytearray(stream.getvalue())
    data[2 * (512 + -(-len(photo()) // 512) * 512) + 3] ^= 1
    path = tmp_path / f"flipped.{kind}"
    path.write_bytes(gzip.compress(data) if kind == "tar.gz" else data)
    *found, last = find_items([path])
    assert names(found) == [f"{path}/{i}.jpg" for i in range(2)]
    with pytest.raises(PhotoError, match=r"flipped\.tar.* is damaged or cut short \(bad checksum"):
        open_item(last, Limits())


def test_a_photo_that_its_tar_ends_within_is_told(tmp_path):
    path = tmp_path / "cut.tar"
    with tarfile.open(path, "w") as tar:
        for i in range(3):
            member = tarfile.TarInfo(f"{i}.jpg")
            member.size = len(photo())
            tar.addfile(member, io.BytesIO(photo()))
    second = 512 + -(-len(photo()) // 512) * 512
    path.write_bytes(path.read_bytes()[: second + 512 + len(photo()) // 2])
    first, cut, last = find_items([path])
    assert decoded(first).width == 24
    with pytest.raises(PhotoError, match=r"1\.jpg is cut short: its archive ends within it"):
        open_item(cut, Limits())
    with pytest.raises(PhotoError, match=r"The archive .*cut\.tar is damaged or cut short"):
        open_item(last, Limits())


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_damaged_byte_of_a_zip_is_told(tmp_path, packing):
    """Whichever byte is flipped, each photo comes as it was, or something is told."""
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w", packing) as archive:
        for i in range(3):
            archive.writestr(f"{i}.png", photo(format="PNG"))
    data = path.read_bytes()
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        found = told = 0
        ignored = Ignored()
        archives._zips.clear()
        for item in find_items([path], ignored=ignored):
            try:
                assert open_item(item, Limits()).read() == photo(format="PNG")
                found += 1
            except PhotoError:
                told += 1
        assert found == 3 or told or ignored, place
    for size in range(0, len(data), 7):  # cut anywhere: its table of contents is at the end
        path.write_bytes(data[:size])
        (item,) = find_items([path])
        with pytest.raises(PhotoError, match="damaged or cut short"):
            open_item(item, Limits())


@pytest.mark.parametrize("text", [b"a.jpg\nb c.jpg\n", b"a.jpg\0b c.jpg\0", b"a.jpg\r\nb c.jpg"])
def test_lists_are_by_lines_or_by_nuls(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_bytes(text)
    assert list(read_list(str(path))) == ["a.jpg", "b c.jpg"]


def test_a_nul_list_may_hold_newlines(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"new\nline.jpg\0\xe9.jpg\0")
    assert list(read_list(str(path))) == ["new\nline.jpg", os.fsdecode(b"\xe9.jpg")]


def test_annotations_name_the_photos_and_give_their_ids(folder, tmp_path):
    path = tmp_path / "captions.json"
    images = [
        {"id": 7, "file_name": "a.jpg"},
        {"id": 8, "file_name": "c.JPG"},
        {"id": 9, "file_name": "../../etc/passwd"},
    ]
    path.write_text(json.dumps({"images": images}))
    items = list(annotated_items(path, [folder]))
    assert [(i.image_id, i.name) for i in items] == [
        (7, str(folder / "a.jpg")),
        (8, str(folder / "sub/c.JPG")),
        (9, str(folder / "etc/passwd")),
    ]
    path.write_text(json.dumps({"images": [{"id": 1}]}))
    with pytest.raises(DataError, match="image 1 needs"):
        annotated_items(path, [folder])


def test_a_caption_beside_or_inside_is_seen(folder):
    items = list(find_items([folder]))
    (folder / "a.txt").write_text("A cat.")
    (folder / "b.txt").write_text("")
    (folder / "sub" / "c.txt").write_text(" \n\n")  # blanks are no caption
    assert [Captioned()(i) for i in items] == ["a text file", None, None]
    assert Decoder(8, skip=Captioned())(items[0]) == LeftOut("a text file")
    assert isinstance(Decoder(8, skip=Captioned())(items[1]), Decoded)


# The web ------------------------------------------------------------------------------------------


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress,
    "gzip-parts": lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]),
    "gzip-not": lambda data: data,
    "gzip-cut": lambda data: gzip.compress(data)[:-20],
    "deflate": zlib.compress,
    "deflate-raw": raw_deflate,
    "br": lambda data: b"\x8b\x02",
}


class Server(BaseHTTPRequestHandler):
    tries: dict[str, int] = {}  # noqa: RUF012

    def do_GET(self):
        count = self.tries[self.path] = self.tries.get(self.path, 0) + 1
        data = photo()
        if self.path == "/busy.jpg" and count < 3:
            self.send_response(503)
            self.end_headers()
            return
        if self.path == "/file.jpg":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        if self.path == "/gone.jpg":
            self.send_error(404)
            return
        if self.path.startswith("/round"):
            self.send_response(302)
            self.send_header("Location", "/round-2.jpg" if self.path[-5] == "1" else "/round-1.jpg")
            self.end_headers()
            return
        if (coding := self.path[1:].partition(".")[0]) in PACKED:
            data = PACKED[coding](data if ".large" not in self.path else bytes(10**6))
            self.send_response(200)
            self.send_header("Content-Encoding", coding.partition("-")[0])
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        Server.tries["asked"] = self.path
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) + (100 if self.path == "/cut.jpg" else 0)))
        self.end_headers()
        self.wfile.write(bytes(10**6) if self.path == "/large.jpg" else data)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "*")


def test_a_photo_from_the_web(server):
    (item,) = find_items([f"{server}/a.jpg"])
    assert item.name == f"{server}/a.jpg" and decoded(item).width == 24


def test_a_busy_server_is_asked_again_and_a_plain_no_is_not(server):
    assert fetch.fetch(f"{server}/busy.jpg", 10**6) == photo()
    assert Server.tries["/busy.jpg"] == 3
    with pytest.raises(PhotoError, match=r"gone\.jpg cannot be fetched: the server answers 404"):
        fetch.fetch(f"{server}/gone.jpg", 10**6)
    assert Server.tries["/gone.jpg"] == 1


def test_web_limits(server):
    with pytest.raises(PhotoError, match="too large a file"):
        fetch.fetch(f"{server}/b.jpg", 10)
    with pytest.raises(PhotoError, match="cannot be fetched"):
        fetch.fetch(f"{server}/cut.jpg", 10**6)
    with pytest.raises(PhotoError, match=r"Redirection to url .file:"):
        fetch.fetch(f"{server}/file.jpg", 10**6)
    with pytest.raises(PhotoError, match=r"cannot be fetched"):
        fetch.fetch("http://127.0.0.1:1/x.jpg", 10**6)
    with pytest.raises(PhotoError, match=r"cannot be fetched"):
        fetch.fetch("http://", 10**6)


@pytest.mark.parametrize(
    "address, asked",
    [
        ("/grüße.jpg", "/gr%C3%BC%C3%9Fe.jpg"),
        ("/gr%C3%BC%C3%9Fe.jpg", "/gr%C3%BC%C3%9Fe.jpg"),
        ("/two words.jpg?a=ü b&c=1+2", "/two%20words.jpg?a=%C3%BC%20b&c=1+2"),
        ("/100%.jpg", "/100%25.jpg"),
    ],
)
def test_addresses_are_what_people_write(server, tmp_path, address, asked):
    (tmp_path / "list").write_text(f"  {server}{address}  \n", encoding="utf-8")
    (item,) = find_items(read_list(str(tmp_path / "list")))
    assert item.name == f"{server}{address}" and decoded(item).width == 24
    assert Server.tries["asked"] == asked


def test_hosts_of_any_script():
    for address, uri in (
        ("http://straße.de/ä?ö#ü", "http://xn--strae-oqa.de/%C3%A4?%C3%B6"),
        ("https://me@例え.テスト:81/", "https://me@xn--r8jz45g.xn--zckzah:81/"),
        ("http://[::1]:8/a b", "http://[::1]:8/a%20b"),
        (f"http://h/{os.fsdecode(bytes([0xE9]))}", "http://h/%E9"),
    ):
        assert fetch.to_uri(address) == uri
    for address in ("http://" + "ü" * 70 + ".de/", "http://h:port/a", "http://[::1/a", "http:///a"):
        with pytest.raises(PhotoError, match=r"cannot be fetched: [^\n]+\.$"):
            fetch.fetch(address, 10)


def test_a_circle_of_redirects_is_one_sentence(server):
    with pytest.raises(PhotoError, match=r"cannot be fetched: the server leads from one.*end\.$"):
        fetch.fetch(f"{server}/round-1.jpg", 10**6)


@pytest.mark.parametrize("coding", ["gzip", "gzip-parts", "gzip-not", "deflate", "deflate-raw"])
def test_what_a_server_packs_unasked_is_unpacked_within_the_limit(server, coding):
    assert fetch.fetch(f"{server}/{coding}.jpg", 10**6) == photo()
    if coding != "gzip-not":
        with pytest.raises(PhotoError, match="too large a file"):
            fetch.fetch(f"{server}/{coding}.large.jpg", 10**5)


def test_what_cannot_be_unpacked_is_a_sentence(server):
    with pytest.raises(PhotoError, match=r"packed it as 'br', which nobody asked for\.$"):
        fetch.fetch(f"{server}/br.jpg", 10**6)
    with pytest.raises(PhotoError, match=r"gzip-cut\.jpg cannot be fetched: [^\n]+\.$"):
        fetch.fetch(f"{server}/gzip-cut.jpg", 10**6)


def test_an_item_with_nothing_says_so():
    with pytest.raises(PhotoError, match="it is damaged"):
        open_item(Item("x", problem="it is damaged"), Limits())
