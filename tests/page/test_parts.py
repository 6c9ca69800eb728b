"""The page's parts without a server: limits, the cache, accounts, contrast."""

import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")

from captioner.batch import fetch
from captioner.batch.items import open_item
from captioner.batch.names import sidecar
from captioner.errors import CaptionerError, PhotoError
from captioner.page import uploads
from captioner.page.assets import static
from captioner.page.cache import PrivateCache
from captioner.page.caption import CaptionService
from captioner.page.command import people
from captioner.page.models import Models
from captioner.page.uploads import Upload, photos_in, uploaded
from captioner.photos import Limits

from .conftest import web_server


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    place = tmp_path / "uploads"
    place.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(place))
    return place


def test_only_uploads_may_be_opened(folder, tmp_path):
    inside, outside = folder / "a.jpg", tmp_path / "b.jpg"
    inside.write_text("x")
    outside.write_text("x")
    assert uploaded(str(inside)) == inside
    (folder / "link.jpg").symlink_to(outside)
    way_out = str(folder / ".." / "b.jpg")
    for path in (str(outside), way_out, str(folder / "link.jpg"), str(folder), "", None, 3, "\0"):
        with pytest.raises(PhotoError, match="not uploaded"):
            uploaded(path)


def zipped(folder: Path, members: dict[str, bytes]) -> Upload:
    path = folder / "many.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return Upload(path, "many.zip")


def test_a_zip_is_read_where_it_lies(folder, tmp_path):
    archive = zipped(folder, {"../../evil.jpg": b"1", "/etc/evil.jpg": b"2", "a/good.jpg": b"3"})
    found = photos_in([archive])
    assert [item.name for item in found] == [
        "many.zip/../../evil.jpg", "many.zip//etc/evil.jpg", "many.zip/a/good.jpg",
    ]  # fmt: skip
    assert [open_item(item, uploads.PHOTO_LIMITS).read() for item in found] == [b"1", b"2", b"3"]
    assert [str(sidecar(item, Path())) for item in found] == [
        "many.zip/evil.txt", "many.zip/etc/evil.txt", "many.zip/a/good.txt",
    ]  # fmt: skip
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["many.zip"]


def test_a_member_that_is_too_large_is_not_read_to_its_end(folder):
    [item] = photos_in([zipped(folder, {"a.jpg": bytes(3_000_000)})])
    with pytest.raises(PhotoError, match="too large a file"):
        open_item(item, Limits(max_bytes=1 << 20))


def test_a_zip_of_very_many_names_is_not_opened(folder, monkeypatch):
    archive = zipped(folder, {f"{n}.jpg": b"" for n in range(400)})
    monkeypatch.setattr(uploads, "MAX_CONTENTS", 10_000)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    [item] = photos_in([archive])
    assert item.problem == "many.zip has far too many files in it."


def test_too_many_photos_none_and_no_zip_are_told(folder, monkeypatch):
    empty = folder / "empty.zip"
    with zipfile.ZipFile(empty, "w"):
        pass
    with pytest.raises(CaptionerError, match="no photo among"):
        photos_in([Upload(empty, "empty.zip")])
    (folder / "no.zip").write_text("no zip")
    [item] = photos_in([Upload(folder / "no.zip", "holiday.zip")])
    assert item.problem.startswith("The archive holiday.zip is damaged")
    assert str(folder) not in item.problem
    monkeypatch.setattr(uploads, "MAX_PHOTOS", 2)
    with pytest.raises(CaptionerError, match="more than 2 photos"):
        photos_in([zipped(folder, {"a.jpg": b"1", "b.jpg": b"2", "c.jpg": b"3"})])


def test_the_shelf_is_bounded_and_its_ids_are_not_guessed():
    cache: PrivateCache[int] = PrivateCache(100, "It")
    ids = [cache.put(n, 30) for n in range(3)]
    assert cache.get(ids[0]) == 0  # used last now
    ids.append(cache.put(3, 30))
    assert cache.held <= 100 and cache.get(ids[0]) == 0
    for gone in (ids[1], "", None, 0, ids[0][:-1]):
        with pytest.raises(CaptionerError, match="no longer held"):
            cache.get(gone)
    assert len(set(ids)) == 4 and all(len(i) >= 20 for i in ids)


@pytest.fixture(scope="module")
def shown(builtin, photos) -> tuple[CaptionService, str]:
    service = CaptionService(Models([str(builtin)]))
    return service, service.show(Upload(photos[2], "cat.png").item, None)["id"]


@pytest.mark.parametrize(
    ("way", "forged"),
    [
        ("overlay", {"id": 3}), ("overlay", {"id": "x"}), ("overlay", {"rank": 99}),
        ("overlay", {"rank": "0"}), ("overlay", {"rank": -1}), ("overlay", {"word": 99}),
        ("overlay", {"word": -1}), ("overlay", {"word": None}), ("overlay", {"strength": 7}),
        ("overlay", {"strength": "much"}), ("overlay", {"strength": float("nan")}),
        ("heads", {"id": None}), ("heads", {"word": 99}), ("heads", {"layer": 99}),
        ("heads", {"layer": -1}), ("download", {"kind": "../etc"}), ("download", {"rank": 3}),
        ("photo", {"id": ""}), ("overlay", {"maps": "x"}), ("thumbs", {"maps": "x"}),
        ("thumbs", {"rank": 9}), ("thumbs", {"id": None}),
    ],
)  # fmt: skip
def test_forged_questions_get_a_sentence(shown, way, forged):
    service, name = shown
    good = {"id": name, "rank": 0, "word": 0, "layer": 0, "kind": "text"}
    assert "error" not in getattr(service, way)(good)
    answer = getattr(service, way)(good | forged)
    assert list(answer) == ["error"] and answer["error"].endswith(".")


def test_a_person_s_own_words_are_read_as_the_library_reads_them(shown, model, photos):
    service, name = shown
    found = service.explain({"id": name, "text": " Two  dogs on a sofa. "})
    wanted = model.explain(photos[2], "Two dogs on a sofa.")
    said = found["caption"]
    assert said["text"] == wanted.text and said["own"] and not said["words"][0]["given"]
    for word, other in zip(said["words"], wanted.words, strict=True):
        assert word["text"] == other.text and word["thumb"].startswith("data:image/jpeg")
        assert word["probability"] == pytest.approx(other.probability, rel=0.05)
    ask = {"id": name, "rank": found["rank"], "word": 1, "strength": 0.5}
    assert service.overlay(ask)["src"] != service.overlay(ask | {"band": False})["src"]
    assert "no words" in service.explain({"id": name, "text": " ... "})["error"]
    assert "error" in service.explain({"id": name, "text": "x" * 501})
    assert "error" in service.explain({"id": name, "text": "dog " * 120})
    drawn = {"sample": True, "seed": 3, "prefix": "Two"}  # which has no part in it
    name = service.show(Upload(photos[2], "cat.png").item, drawn)["id"]
    again = service.explain({"id": name, "text": "Two dogs on a sofa."})["caption"]
    assert again["confidence"] == pytest.approx(said["confidence"], rel=0.05)


def test_the_other_kind_of_map_is_made_once_when_it_is_first_asked_for(shown, monkeypatch):
    service, name = shown
    captioner = service.models.get()
    made, work = [], captioner.with_heatmaps
    monkeypatch.setattr(captioner, "with_heatmaps", lambda *of: made.append(of) or work(*of))
    ask = {"id": name, "rank": 1, "word": 1, "kind": "overlay"}
    first = service.overlay(ask)
    assert service.overlay(ask | {"maps": "attention"}) == first and not made
    other = ask | {"maps": "evidence"}
    thumbs = service.thumbs(other)["thumbs"]
    assert all(t.startswith("data:image/jpeg") for t in thumbs)
    assert thumbs != service.thumbs(ask)["thumbs"]
    assert service.overlay(other) != first and "src" in service.download(other)
    assert len(made) == 1


def test_two_models_side_by_side(builtin, model, photos, tmp_path):
    shutil.copytree(builtin, tmp_path / "other", copy_function=os.link)
    service = CaptionService(Models([str(builtin), str(tmp_path / "other")]))
    name = service.show(Upload(photos[2], "cat.png").item, {"beams": 2})["id"]
    [found] = service.compare({"id": name})["captions"]
    assert found["rank"] == 2 and found["caption"]["model"] == str(tmp_path / "other")
    assert found["caption"]["text"] == model.caption(photos[2], beams=2).text
    assert found["caption"]["layers"] == model.model.layers and found["caption"]["heatmaps"]
    ask = {"id": name, "rank": 2, "word": 1, "layer": 0, "kind": "json"}
    assert "src" in service.overlay(ask) and "average" in service.heads(ask)
    assert "src" in service.download(ask)
    assert service.compare({"id": name}) == {"captions": []}, "all have spoken"
    assert "error" in service.compare({"id": "x"})


def test_a_photo_is_fetched_from_public_addresses_only(folder, photos, monkeypatch):
    asked = []

    def before(request):
        asked.append(request.path)
        if request.path.startswith("/away"):
            request.send_response(302)
            there = f"http://localhost:{request.server.server_port}/cat.png"
            request.send_header("Location", there)
            request.end_headers()
        return request.path.startswith("/away")

    monkeypatch.setattr(fetch, "TRIES", 1)
    with web_server(photos[2], before) as port:
        for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0"):
            with pytest.raises(PhotoError, match="cannot be fetched"):
                uploads.fetched(f"http://{host}:{port}/cat.png")
        with pytest.raises(PhotoError, match="not public"):
            uploads.fetched(f"http://127.0.0.1:{port}/cat.png")
        for wrong in ("file:///etc/passwd", "ftp://x/y", "/etc/passwd", "", "http://"):
            with pytest.raises(PhotoError, match="begins with https"):
                uploads.fetched(wrong)
        assert not asked and not list(folder.iterdir())
        for address in (
            "10.1.2.3",
            "192.168.0.1",
            "169.254.169.254",
            "fe80::1%eth0",
            "::ffff:7f00:1",
        ):
            assert not fetch.is_public(address)
        public = [True, True, False]  # as if the first two lookups led to a public host
        monkeypatch.setattr(fetch, "is_public", lambda address: public.pop(0))
        found = uploads.fetched(f"http://127.0.0.1:{port}/a%20cat.png")
        assert found.name == "a cat.png" and found.path.read_bytes() == photos[2].read_bytes()
        with pytest.raises(PhotoError, match="cannot be fetched"):
            public[:] = [True, False, False]
            uploads.fetched(f"http://127.0.0.1:{port}/away")  # leads to a host that is not
        assert asked == ["/a%20cat.png", "/away"]


def test_accounts(tmp_path):
    file = tmp_path / "people.txt"
    file.write_text("ann:one:two\nbob:three\n\n")
    assert people(str(file)) == [("ann", "one:two"), ("bob", "three")]
    assert people("ann:secret") == [("ann", "secret")]
    assert people(None) is None and people("") is None
    for wrong in ("nobody", "ann:", ":secret", str(tmp_path)):
        with pytest.raises(CaptionerError):
            people(wrong)
    file.write_text("ann\n")
    with pytest.raises(CaptionerError, match="Every line"):
        people(str(file))


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
    from captioner import cli

    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(sys, "argv", ["captioner", "demo"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "pip install 'captioner[demo]'" in capsys.readouterr().err


@pytest.mark.slow
def test_importing_the_command_line_imports_no_gradio():
    import subprocess

    code = "import captioner.cli, sys; sys.exit('gradio' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Contrast -----------------------------------------------------------------------------------------


def variables(selector: str) -> dict[str, str]:
    block = re.search(rf"^{re.escape(selector)} \{{(.*?)\}}", static("page.css"), re.S | re.M)
    assert block
    return dict(re.findall(r"--c-([\w-]+): (#\w{6})", block[1]))


def luminance(colour: tuple[float, ...]) -> float:
    """WCAG 2.2, relative luminance."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    a, b = sorted((luminance(one), luminance(other)))
    return (b + 0.05) / (a + 0.05)


@pytest.mark.parametrize("theme", [":root, :root .light", ".dark"])
def test_text_has_the_contrast_of_wcag_aa(theme):
    colours = {name: rgb(value) for name, value in variables(theme).items()}
    pairs = [
        (text, ground) for text in ("ink", "soft", "accent") for ground in ("paper", "card", "wash")
    ] + [("on-accent", "accent"), ("on-accent", "accent-deep"), ("ink", "line")]
    pairs += [("bad", "bad-wash"), ("bad", "card")]
    for text, ground in pairs:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for percent in range(0, 101, 5):  # a word on its tint, which lies on the page
        share = percent / 100
        ground = tuple(
            share * t + (1 - share) * p
            for t, p in zip(colours["tint"], colours["paper"], strict=True)
        )
        assert contrast(colours["ink"], ground) >= 4.5, percent
    for edge in ("accent", "edge"):  # what marks a control: 3:1
        assert contrast(colours[edge], colours["card"]) >= 3, edge


def test_scores_of_half_an_emoji_and_odd_names_can_be_sent_and_are_escaped(tmp_path):
    """A lone half of a surrogate pair is no text that a server can send."""
    import json

    from captioner.page.score import as_html, score_files

    images = [{"id": n, "file_name": f"{n}\udce9.jpg"} for n in range(2)]
    said = [{"image_id": n, "caption": f"A <b>dog</b> \ud83d number {n}."} for n in range(2)]
    results = [{"image_id": n, "caption": "A dog \ud83d <i>here</i>"} for n in range(2)]
    (tmp_path / "refs.json").write_text(json.dumps({"images": images, "annotations": said}))
    (tmp_path / "results.json").write_text(json.dumps(results))
    pair = [Upload(tmp_path / name, name) for name in ("results.json", "refs.json")]
    found = score_files(*pair)
    json.dumps(found, ensure_ascii=False).encode()
    assert found["best"][0]["caption"] == "A dog \\ud83d <i>here</i>"
    assert found["best"][0]["file"].endswith("\\xe9.jpg")
    html = as_html(found)
    html.encode()
    assert "<i>" not in html and "A dog \\ud83d &lt;i&gt;here&lt;/i&gt;" in html
    assert "<b>dog" not in html and html.count("<article") == 2
    results[0]["image_id"] = "\ud83d"
    (tmp_path / "results.json").write_text(json.dumps(results[:1]))
    with pytest.raises(CaptionerError) as caught:
        score_files(*pair)
    str(caught.value).encode()
    assert str(tmp_path) not in str(caught.value)
