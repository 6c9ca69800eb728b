"""What people's hands already know: what users of taggui, kohya's caption scripts, transformers,
HF evaluate, pycocoevalcap, exiftool and Lightroom type first, and what they are to get."""

import dataclasses
import io
import json
import re
import shlex
import shutil
import signal
import struct
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import captioner
from captioner.banned_words import BannedWords, forms
from captioner.batch.items import Item
from captioner.batch.sidecars import XmpSidecars, sidecar_of
from captioner.batch.spec import JobSpec
from captioner.batch.watch import Arrivals
from captioner.batch.wording import Wording
from captioner.batch.xmp import values
from captioner.cli import app, main
from captioner.errors import CaptionerError, DataError, PhotoError, SettingError
from captioner.metrics import score
from captioner.metrics.readers import read_results
from captioner.options import flags
from captioner.outputs import Guard
from captioner.page import command
from captioner.photos import load_photo
from captioner.request import Request

from .commands import run, start
from .conftest import ROOT


def picture(number: int, size: tuple[int, int] = (90, 60)) -> Image.Image:
    noise = np.random.default_rng(number).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """A folder of three photos; not to be changed."""
    folder = tmp_path_factory.mktemp("album")
    for i in range(3):
        picture(i).save(folder / f"{i}.jpg")
    return folder


@pytest.fixture
def photos(album, tmp_path):
    """A folder of three photos, for oneself."""
    return shutil.copytree(album, tmp_path / "photos")


def captions(path):
    return [json.loads(line)["caption"] for line in path.read_text().splitlines()]


# Something else happened than was said ------------------------------------------------------------


def test_a_banned_word_is_banned_with_its_plural_and_commas_part_words():
    assert Request(without="table, room").without == ("table", "room")
    assert {"table", "tables"} <= set(forms("table")) and "buses" in forms("bus")
    assert "men" in forms("man") and "snowmen" in forms("snowman") and "babies" in forms("baby")
    assert "humen" not in forms("human") and "foxen" not in forms("fox")
    assert forms("a") == ["a"] and forms("it") == ["it"], "no ban of as, its"


def test_no_form_of_a_banned_word_is_written(model):
    rule = BannedWords(["DOG"], model.tokenizer)
    for text in ("two dog", "two dogs", "dog", "Two Dogs"):
        *ids, last = model.tokenizer.encode(text)
        logits = rule(torch.tensor([ids], dtype=torch.long), torch.zeros(1, len(model.tokenizer)))
        assert logits[0, last] == -torch.inf, text


def test_an_unknown_suffix_is_refused_with_the_list(album, tmp_path):
    for name in ("out.txt", "out.md", "out", "out.xmp"):
        with pytest.raises(SettingError) as refused:
            JobSpec(paths=(str(album),), output=tmp_path / name).check()
        sentence = refused.value.with_names(flags(JobSpec))
        assert ".jsonl, .ndjson, .csv, .tsv, .json, .parquet, .html" in sentence
        assert "--format txt" in sentence and not (tmp_path / name).exists()


@pytest.mark.slow
def test_tsv_is_a_table(tiny, album, tmp_path):
    assert run("caption", album, "-o", tmp_path / "x.tsv", "--model", tiny).returncode == 0
    head, *rows = (tmp_path / "x.tsv").read_text().splitlines()
    assert head.split("\t")[:3] == ["file", "image_id", "caption"] and len(rows) == 3


@pytest.mark.slow
def test_changed_settings_are_told_when_all_is_done(tiny, album, tmp_path):
    job = ("caption", album, "-o", tmp_path / "x.csv", "--model", tiny)
    run(*job)
    settings = (tmp_path / "x.run.json").read_bytes()
    assert "Note" not in run(*job).stderr
    for change, words in ((("--beams", 2), "beams was 3 and is 2"),
                          (("--prefix", "A"), "prefix was '' and is 'A'")):  # fmt: skip
        told = run(*job, *change).stderr
        assert f"3 photos were captioned before with other settings: {words}." in told
        assert "--overwrite makes them anew" in told and "3 skipped" in told
    assert "Note" not in run(*job, "--beams", 3).stderr, "3 is what the model does by itself"
    assert (tmp_path / "x.run.json").read_bytes() == settings, "nothing was captioned since"


def test_draws_differ_until_a_seed_is_given(small):
    photo = picture(0)
    drawn = [small.caption(photo, sample=True, temperature=3.0) for _ in range(4)]
    assert len({c.text for c in drawn}) > 1
    again = small.caption(photo, sample=True, temperature=3.0, seed=drawn[0].request.seed)
    assert again.text == drawn[0].text


@pytest.mark.slow
def test_a_job_records_the_seed_that_it_draws_by(tiny, album, tmp_path):
    def draw(name, *more):
        job = ("caption", album, "-o", tmp_path / name, "--model", tiny, "--sample", *more)
        done = run(*job)
        assert done.returncode == 0, done.stderr
        return (tmp_path / name).read_bytes(), done.stderr

    first, _ = draw("a.jsonl")
    seed = json.loads((tmp_path / "a.run.json").read_text())["seed"]
    assert draw("b.jsonl")[0] != first and draw("c.jsonl", "--seed", seed)[0] == first
    (tmp_path / "a.jsonl").write_bytes(first.splitlines(keepends=True)[0])
    assert draw("a.jsonl")[0] == first, "continued, it draws what it would have drawn"
    again, told = draw("a.jsonl")
    assert again == first and "Note" not in told


def test_a_setting_of_draws_without_draws_is_refused(small):
    for name, value in (("seed", 1), ("temperature", 0.5), ("top_k", 5), ("top_p", 0.5)):
        with pytest.raises(SettingError, match=f"{name} has a meaning only where words are drawn"):
            small.caption(picture(0), **{name: value})
        small.caption(picture(0), sample=True, **{name: value})


@pytest.mark.slow
def test_alternatives_are_shown_or_refused(tiny, album, photos, tmp_path, small):
    done = run("caption", album, "--alternatives", 2, "--model", tiny)
    assert all(len(line.split("\t")) == 4 for line in done.stdout.splitlines())
    refused = run("caption", photos, "--format", "txt", "--alternatives", 2, "--model", tiny)
    assert refused.returncode == 2 and "--alternatives have no place" in refused.stderr
    job = run("caption", album, "-o", tmp_path / "x.json", "--alternatives", 2, "--model", tiny)
    assert "the further captions are in" in job.stderr and "x.jsonl" in job.stderr
    plain, more = (small.caption(picture(0), alternatives=n).contact_sheet() for n in (0, 2))
    assert plain.tobytes() != more.tobytes()


@pytest.mark.slow
def test_what_is_passed_over_is_told_by_kind_and_our_own_files_are_not(tiny, photos):
    for name in ("film.mov", "clip.MP4", "notes.doc"):
        (photos / name).write_bytes(b"x")
    for name in ("1.jpg", "2.jpg"):
        (photos / name).unlink()
    done = run("caption", photos, "--model", tiny)
    assert "Passed over: 1 not a photo, 2 video." in done.stderr
    run("caption", photos, "-o", photos / "captions.csv", "--model", tiny)
    run("caption", photos, "--format", "txt", "--model", tiny)
    run("caption", photos, "--write-metadata", "--model", tiny)
    assert len(list(photos.iterdir())) == 9, "with our own, which are not counted"
    assert "Passed over: 1 not a photo, 2 video." in run("caption", photos, "--model", tiny).stderr


def test_a_caption_that_was_cut_has_no_full_stop(small):
    for number in range(6):
        caption = small.caption(picture(number), max_length=3)
        assert len(caption.ids) == 3 and not caption.text.endswith(".")
        assert len(caption.words) <= 3


@pytest.mark.slow
def test_ctrl_c_after_the_last_photo_stops_nothing(tiny, album, tmp_path):
    path = tmp_path / "x.csv"
    command = start("caption", album, "-o", path, "--model", tiny)
    while command.poll() is None and not (tmp_path / "x.jsonl").exists():
        time.sleep(0.002)
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(60)
    done = path.exists() and len(path.read_text().splitlines()) == 4
    assert (command.returncode, b"Stopped" in told) == ((0, False) if done else (130, True)), told


def test_plain_cider_says_what_it_is_not(tmp_path):
    refs = [{"image_id": i, "id": i, "caption": f"a dog number {i}"} for i in range(2)]
    (tmp_path / "refs.json").write_text(
        json.dumps({"images": [{"id": i} for i in range(2)], "annotations": refs})
    )
    (tmp_path / "res.json").write_text(json.dumps(refs))
    for metric, told in (("CIDEr", True), ("CIDEr-D", False)):
        done = run("score", tmp_path / "res.json", "-r", tmp_path / "refs.json",
                   "--metrics", metric, "--no-bootstrap")  # fmt: skip
        assert ("pycocoevalcap" in done.stdout) is told, done.stdout


@pytest.mark.parametrize(
    "colour, name",
    [((0, 0, 0), "black"), ((12, 9, 9), "black"), ((255, 255, 255), "white"),
     ((128, 128, 128), "grey"), ((200, 20, 20), "red"), ((30, 60, 200), "blue"),
     ((110, 60, 20), "brown")],
)  # fmt: skip
def test_a_picture_without_content_is_said_to_be_one(small, colour, name):
    noise = np.random.default_rng(0).normal(0, 12, (400, 600, 3))
    grain = Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))
    for image in (Image.new("RGB", (60, 40), colour), grain):
        caption = small.caption(image)
        assert caption.blank and caption.to_dict()["blank"] and caption.confidence == 1
        assert caption.text == f"A plain {name} picture with nothing in it."
        assert [w.text for w in caption.words] == caption.text.strip(".").split()
        for word, heads in zip(caption.words, small.word_attention(caption), strict=True):
            assert word.heatmap.sum() == pytest.approx(1) and np.ptp(word.heatmap) == 0
            assert heads.sum((2, 3)) == pytest.approx(1)
        assert caption.contact_sheet().width


def test_a_lamp_in_the_night_is_no_blank_picture(small):
    image = Image.new("RGB", (600, 400))
    image.paste((255, 240, 200), (300, 100, 315, 115))
    assert not small.caption(image).blank


@pytest.mark.slow
def test_a_job_says_blank_as_the_call_does(tiny, photos, tmp_path):
    Image.new("RGB", (80, 60), "black").save(photos / "black.png")
    run("caption", photos, "-o", tmp_path / "x.jsonl", "--ordered", "--model", tiny)
    records = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [r["blank"] for r in records] == [False, False, False, True]
    assert records[-1]["caption"] == "A plain black picture with nothing in it."


@pytest.mark.slow
def test_no_photograph_is_called_blank(data):
    files = [
        p for kind in ("coco2017-mini", "flickr30k-mini") for p in data.glob(f"{kind}/**/*.jpg")
    ]
    plainest = data / "flickr8k" / "images"
    files += [plainest / f"{n}.jpg" for n in ("2218843713_cf28ea319e", "3167379087_927ff05a35")]
    assert len(files) > 400
    assert not [p for p in files if load_photo(p, min_side=64).blank]


# The command itself -------------------------------------------------------------------------------


def typed(*words, env=None):
    """The command in this process, for what needs no model: its status and all that it says."""
    done = CliRunner().invoke(app, [str(word) for word in words], env=env, prog_name="captioner")
    return done.exit_code, done.output


def test_the_help_of_caption_is_a_page_and_says_each_default():
    told = run("caption", "--help").stdout  # a hundred columns wide
    assert 60 < len(told.splitlines()) <= 100
    assert max(map(len, told.splitlines())) <= 100
    rows = re.split(r"\n  (?=-)", told)[1:]
    assert len(rows) > 40
    for row in rows:
        words = " ".join(row.split("\n\n")[0].split())
        assert re.search(r"\. \[[^\]]+\]$", words) or "--help" in words, words
    for heading in ("Which photos:", "Where captions go:", "How they are written:",
                    "Words drawn at random:", "The model and the machine:"):  # fmt: skip
        assert heading in told
    assert "CAPTIONER_MODEL" in told


def test_the_version_and_completion():
    assert typed("--version") == (0, f"captioner {captioner.__version__}\n")
    assert "--install-completion" in typed("--help")[1]
    complete = {"_CAPTIONER_COMPLETE": "complete_bash", "COMP_WORDS": "captioner caption --be",
                "COMP_CWORD": "2"}  # fmt: skip
    assert "--beams" in typed(env=complete)[1]


@pytest.mark.parametrize(
    "words, answer",
    [
        (["photo.jpg"], "did you mean `captioner caption photo.jpg`?"),
        (["photo.jpg", "--beams", "5"], "did you mean `captioner caption photo.jpg --beams 5`?"),
        (["https://example.org/a"], "did you mean `captioner caption https://example.org/a`?"),
        (["captoin", "photo.jpg"], "caption"),
        (["caption", "--num-beams", "5"], "--beams"),
        (["caption", "a.jpg", "--captions-ext", ".txt"], "No such option"),
        (["caption", "a.jpg", "--seed", "x"], "'--seed': Input should be a valid integer"),
    ],
)
def test_what_is_nearly_right_leads_on(words, answer):
    status, told = typed(*words)
    assert status == 2 and answer in " ".join(told.split())


def test_options_have_their_defaults_from_the_environment(monkeypatch):
    monkeypatch.setenv("CAPTIONER_BEAMS", "7")
    monkeypatch.setenv("CAPTIONER_MODEL", "somewhere")
    seen = []
    monkeypatch.setattr(JobSpec, "check", lambda spec: seen.append(spec) or exit(0))
    typed("caption", "a.jpg")
    typed("caption", "a.jpg", "--beams", 2)
    assert [(s.request.beams, s.model) for s in seen] == [(7, "somewhere"), (2, "somewhere")]
    monkeypatch.setenv("CAPTIONER_BEAMS", "many")
    assert "'--beams': Input should be a valid integer" in typed("caption", "a.jpg")[1]


def test_so_has_the_page(monkeypatch):
    seen = []
    monkeypatch.setattr(command, "serve", seen.append)
    for name, value in {
        "HOST": "::1", "PORT": "8000", "MODEL": "one two", "AUTH": "ann:secret", "QUEUE": "4",
        "ALLOW_HOST": "a.example b.example", "ROOT_PATH": "/captions", "BROWSER": "1",
        "DEVICE": "cuda:1",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"CAPTIONER_{name}", value)
    typed("demo")
    typed("demo", "--port", 9000, "--model", "three")
    known = command.DemoSettings(
        host="::1", port=8000, model=("one", "two"), auth="ann:secret", queue=4,
        allow_host=("a.example", "b.example"), root_path="/captions", browser=True,
        device="cuda:1",
    )  # fmt: skip
    assert seen == [known, dataclasses.replace(known, port=9000, model=("three",))]
    for wrong in ({"port": 70000}, {"port": 0}, {"queue": 0}):
        with pytest.raises(SettingError, match=f"^{next(iter(wrong))} "):
            command.DemoSettings(**wrong)


def test_a_photo_on_standard_input(tiny, album):
    photo = (album / "0.jpg").read_bytes()
    done = run("caption", "-", "--json", "--model", tiny, input=photo)
    assert json.loads(done.stdout)["file"] == "-" and done.returncode == 0
    assert json.loads(done.stdout)["width"] == 90
    both = typed("caption", "-", "--from", "-")
    assert both[0] != 0


@pytest.mark.slow
def test_a_dry_run_lists_what_would_be_done(tiny, photos, tmp_path):
    job = ("caption", photos, "-o", tmp_path / "x.jsonl", "--model", tiny)
    done = run(*job, "--dry-run")
    assert done.stdout.splitlines() == [str(photos / f"{i}.jpg") for i in range(3)]
    assert "Nothing was done; there would be 3 captioned." in done.stderr
    assert not list(tmp_path.glob("x*"))
    run("caption", photos / "1.jpg", *job[2:])
    again = run(*job, "--dry-run")
    assert [line[-5:] for line in again.stdout.splitlines()] == ["0.jpg", "2.jpg"]
    assert "2 captioned, 1 skipped (1 done before)" in again.stderr


# Doors --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_literal_text_around_captions_and_words_exchanged(tiny, photos, tmp_path):
    wording = Wording(before="sks Dog, ", after=", photo", replace=("dog=puppy", "man = person"))
    assert wording("Dog and woman, man.") == "sks Dog, Puppy and woman, person, photo"
    assert Wording(after=" #x")("A.") == "A. #x"
    with pytest.raises(SettingError, match="OLD=NEW"):
        Wording(replace=("dog",))
    run("caption", photos, "-o", tmp_path / "plain.jsonl", "--ordered", "--model", tiny)
    around = ("--before", "sks Dog, ", "--after", ", photo")
    job = ("caption", photos, "-o", tmp_path / "x.csv", "--ordered", "--model", tiny, *around)
    assert run(*job).returncode == 0
    expected = [
        f"sks Dog, {c.removesuffix('.')}, photo" for c in captions(tmp_path / "plain.jsonl")
    ]
    assert captions(tmp_path / "x.jsonl") == expected
    assert expected[0] in (tmp_path / "x.csv").read_text()
    recorded = json.loads((tmp_path / "x.run.json").read_text())
    assert (recorded["before"], recorded["after"]) == ("sks Dog, ", ", photo")
    told = run(*job[:-4], "--before", "ohwx ").stderr
    assert "before was 'sks Dog, ' and is 'ohwx '" in told
    done = run("caption", photos, "--format", "txt", "--extension", ".caption", "--model", tiny,
               *around)  # fmt: skip
    assert done.returncode == 0
    assert (photos / "0.caption").read_text() == expected[0] + "\n"
    assert not list(photos.glob("*.txt"))
    again = run("caption", photos, "--format", "txt", "--extension", ".caption", "--model", tiny)
    assert "3 skipped (3 with a caption of their own" in again.stderr
    for wrong in (("--extension", ".jpg"), ("--extension", "caption")):
        assert run("caption", photos, "--format", "txt", *wrong).returncode == 2


RECORDS = [
    {"file": f"site/{name}", "image_id": None, "caption": text, "confidence": sure, "words": [],
     "alternatives": [], "model": "m", "version": "1", "width": 8, "height": 6, "blank": False}
    for name, text, sure in (("b c.jpg", "A \"big\" dog.", 0.9), ("sub/a.jpg", "A man.", 0.2))
]  # fmt: skip


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A folder with the files of a finished job; the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("x.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    failed = {"file": "site/bad.jpg", "image_id": None, "error": "bad.jpg is damaged."}
    Path("x.errors.jsonl").write_text(json.dumps(failed) + "\n")
    return tmp_path


def exported(*words):
    return typed("export", "x.jsonl", *words)


def test_export_writes_any_format_without_a_model(job):
    for name in ("y.csv", "y.tsv", "y.jsonl", "y.json", "y.parquet", "y.html"):
        assert exported("-o", name) == (0, f"2 captions are in {name}.\n")
    assert len(read_results(Path("y.csv"))) == len(read_results(Path("y.json"))) == 2
    assert captions(Path("y.jsonl")) == [r["caption"] for r in RECORDS]
    assert exported("-o", "out", "--format", "txt", "--before", "sks, ")[0] == 0
    assert Path("out/sub/a.txt").read_text() == "sks, A man.\n"
    assert Path("out/b c.txt").exists()
    assert exported() == (0, "".join(f"{r['file']}\t{r['caption']}\n" for r in RECORDS))


def test_export_chooses_sorts_and_words(job):
    assert exported("--below", 0.4) == (0, "site/sub/a.jpg\tA man.\n")
    _, told = exported("--sort", "confidence", "--replace", "man=person", "--after", ", photo")
    assert [line.split("\t")[1] for line in told.splitlines()] == [
        "A person, photo", 'A "big" dog, photo'
    ]  # fmt: skip
    assert exported("--failed") == (0, "site/bad.jpg\tbad.jpg is damaged.\n")
    assert exported("--failed", "-o", "f.csv")[0] == 0
    assert Path("f.csv").read_text().splitlines()[0] == "file,image_id,error"


def test_export_replaces_nothing_unasked(job):
    Path("y.csv").write_text("mine")
    before = Path("x.jsonl").read_bytes()
    for words in (
        ["-o", "y.csv"], ["-o", "x.jsonl", "--overwrite"], ["-o", "y.txt"], ["--sort", "size"],
        ["--format", "csv"], ["--failed", "-o", "f.json"],
    ):  # fmt: skip
        done = CliRunner().invoke(app, ["export", "x.jsonl", *words])
        assert isinstance(done.exception, CaptionerError), words
    assert Path("y.csv").read_text() == "mine" and Path("x.jsonl").read_bytes() == before
    assert exported("-o", "y.csv", "--overwrite")[0] == 0


def test_alternative_text_for_a_web_site(job):
    Path("pages").mkdir()
    assert exported("-o", "pages/alt.html")[0] == 0
    first, second = Path("pages/alt.html").read_text().splitlines()[1:]
    assert first == (
        '<img src="../site/b%20c.jpg" alt="A &quot;big&quot; dog." width="8" height="6">'
    )
    assert 'src="../site/sub/a.jpg" alt="A man."' in second


LIGHTROOM = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
 crs:Exposure2012="+0.35" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>
</rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def test_a_sidecar_is_written_and_one_that_is_there_is_merged(tiny, photos):
    (photos / "1.xmp").write_text(LIGHTROOM)
    mine = LIGHTROOM.replace('xmp:Rating="4"', 'xmp:Rating="4" xmlns:dc="http://purl.org/dc/'
                             'elements/1.1/" dc:description="Grandmother, 1962"')  # fmt: skip
    (photos / "2.jpg.xmp").write_text(mine)
    before = (photos / "0.jpg").read_bytes()
    done = run("caption", photos, "--sidecar", "--model", tiny)
    assert done.returncode == 0, done.stderr
    assert "2 captioned, 1 skipped (1 with a caption of their own: 1 in a sidecar)" in done.stderr
    assert (photos / "0.jpg").read_bytes() == before, "the photo itself is not touched"
    assert (photos / "2.jpg.xmp").read_text() == mine and not (photos / "1.jpg.xmp").exists()
    found = {v.path[-1].partition("}")[2]: v.text for v in values((photos / "1.xmp").read_bytes())}
    assert found["Exposure2012"] == "+0.35" and found["Rating"] == "4"
    assert found["description"] == found["AltTextAccessibility"]
    new = {
        v.path[-1].partition("}")[2]: v.text for v in values((photos / "0.jpg.xmp").read_bytes())
    }
    assert new["CreatorTool"] == f"captioner {captioner.__version__}" and new["description"]
    again = run("caption", photos, "--sidecar", "--model", tiny)
    assert "0 captioned, 3 skipped" in again.stderr and "Passed over" not in again.stderr


def dng(path: Path, photo: Image.Image) -> None:
    """A camera's raw file: noise, and the photo as its preview (Adobe's DNG, version 1.4)."""
    made = io.BytesIO()
    photo.save(made, "JPEG", quality=95)
    jpeg = made.getvalue() + bytes(made.tell() % 2)
    wide, high = 256, 192
    raw = np.random.default_rng(0).integers(0, 4000, (high, wide), dtype=np.uint16).tobytes()

    def directory(at: int, *entries: tuple[int, str, bytes]) -> bytes:
        sizes = {"B": 1, "s": 1, "H": 2, "I": 4, "r": 8}
        kinds = {"B": 1, "s": 2, "H": 3, "I": 4, "r": 10}
        table, more = b"", b""
        for tag, kind, value in sorted(entries):
            count, held = len(value) // sizes[kind], value.ljust(4, b"\0")
            if len(value) > 4:
                held = struct.pack("<I", at + 6 + 12 * len(entries) + len(more))
                more += value + bytes(len(value) % 2)
            table += struct.pack("<HHI", tag, kinds[kind], count) + held
        return struct.pack("<H", len(entries)) + table + bytes(4) + more

    def short(*values: int) -> bytes:
        return struct.pack(f"<{len(values)}H", *values)

    def long(value: int) -> bytes:
        return struct.pack("<I", value)

    size = photo.size
    at = 8 + len(jpeg) + len(raw)
    colour_filters = directory(
        at, (254, "I", long(0)), (256, "I", long(wide)), (257, "I", long(high)),
        (258, "H", short(16)), (259, "H", short(1)), (262, "H", short(32803)),
        (273, "I", long(8 + len(jpeg))), (277, "H", short(1)), (278, "I", long(high)),
        (279, "I", long(len(raw))), (33421, "H", short(2, 2)), (33422, "B", bytes((0, 1, 1, 2))),
    )  # fmt: skip
    matrix = struct.pack("<18i", *(x for cell in np.eye(3, dtype=int).flat for x in (cell, 1)))
    first = directory(
        at + len(colour_filters), (254, "I", long(1)), (256, "I", long(size[0])),
        (257, "I", long(size[1])), (258, "H", short(8, 8, 8)), (259, "H", short(7)),
        (262, "H", short(6)), (271, "s", b"Maker\0"), (272, "s", b"Model\0"), (273, "I", long(8)),
        (277, "H", short(3)), (278, "I", long(size[1])), (279, "I", long(len(jpeg))),
        (330, "I", long(at)), (50706, "B", bytes((1, 4, 0, 0))), (50708, "s", b"Maker Model\0"),
        (50721, "r", matrix), (50778, "H", short(21)),
    )  # fmt: skip
    head = struct.pack("<2sHI", b"II", 42, at + len(colour_filters))
    path.write_bytes(head + jpeg + raw + colour_filters + first)


def test_raw_files_are_captioned_by_the_photo_in_them(small, tiny, tmp_path):
    pytest.importorskip("rawpy")
    photo = picture(5, (160, 120))
    dng(tmp_path / "a.DNG", photo)
    loaded = load_photo(tmp_path / "a.DNG")
    assert (loaded.width, loaded.height) == photo.size
    assert np.abs(np.asarray(loaded.image, int) - np.asarray(photo, int)).mean() < 4
    (tmp_path / "b.nef").write_bytes(b"no raw file at all")
    with pytest.raises(PhotoError, match=r"b\.nef cannot be read as a camera's raw file"):
        load_photo(tmp_path / "b.nef")
    whole = (tmp_path / "a.DNG").read_bytes()
    done = run("caption", tmp_path, "--sidecar", "--model", tiny)
    assert "1 captioned, 1 failed" in done.stderr and (tmp_path / "a.DNG").read_bytes() == whole
    assert b"captioner" in (tmp_path / "a.DNG.xmp").read_bytes()


def test_a_sidecar_that_two_photos_would_share_or_that_is_none_is_left(tmp_path):
    for name in ("a.jpg", "a.CR2", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a.xmp").write_text(LIGHTROOM)
    (tmp_path / "b.xmp").write_text("my notes")
    assert sidecar_of(tmp_path / "a.jpg") == tmp_path / "a.jpg.xmp"
    assert sidecar_of(tmp_path / "b.jpg") == tmp_path / "b.xmp"
    item = Item(str(tmp_path / "b.jpg"), path=str(tmp_path / "b.jpg"))
    for overwrite in (False, True):
        with pytest.raises(CaptionerError, match="its XMP is damaged"):
            XmpSidecars(Guard(overwrite=overwrite)).write(item, "A dog.")
    assert (tmp_path / "b.xmp").read_text() == "my notes"


def test_a_file_that_is_being_written_waits(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"half")
    arrivals, item = Arrivals(), Item(str(path), path=str(path))
    assert not list(arrivals.new([item]))
    path.write_bytes(b"half and half")
    assert not list(arrivals.new([item])), "it has grown since"
    assert list(arrivals.new([item])) == [item]
    assert not list(arrivals.new([item])), "each comes once"


@pytest.mark.slow
def test_a_folder_that_fills_is_captioned_until_ctrl_c(tiny, photos, tmp_path):
    path = tmp_path / "x.jsonl"
    late = (photos / "2.jpg").read_bytes()
    for name in ("1.jpg", "2.jpg"):
        (photos / name).unlink()
    command = start("caption", photos, "-o", path, "--watch", "--model", tiny)

    def until(number):
        end = time.monotonic() + 120
        while not path.exists() or len(path.read_bytes().splitlines()) < number:
            assert time.monotonic() < end and command.poll() is None
            time.sleep(0.05)

    until(1)
    with (photos / "new.jpg").open("wb") as stream:  # slower than one looks
        for part in (late[:100], late[100:300], late[300:]):
            stream.write(part)
            stream.flush()
            time.sleep(1)
    until(2)
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(60)
    assert command.returncode == 0 and b"2 captioned" in told and b"Stopped;" not in told, told
    assert not (tmp_path / "x.errors.jsonl").exists()
    again = run("caption", photos, "-o", path, "--model", tiny)
    assert "2 skipped (2 done before)" in again.stderr


# In Python ----------------------------------------------------------------------------------------


def test_one_bad_photo_does_not_lose_the_others(small, album, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    photos = [album / "0.jpg", tmp_path / "bad.jpg", album / "1.jpg"]
    with pytest.raises(PhotoError, match=r"bad\.jpg .*on_error=\"return\" gives"):
        small.caption(photos)
    first, bad, second = small.caption(photos, on_error="return")
    assert isinstance(bad, PhotoError) and "bad.jpg" in str(bad)
    assert [first.text, second.text] == [c.text for c in small.caption(photos[::2])]


@pytest.mark.parametrize("number", [5, 40])
def test_a_stream_takes_anything_and_keeps_its_order(small, album, tmp_path, number):
    path, array = album / "0.jpg", np.asarray(picture(7))
    kinds = [path, str(path), path.read_bytes(), array, picture(8), io.BytesIO(path.read_bytes())]
    given = (kinds[i % len(kinds)] if i != 3 else tmp_path / "gone.jpg" for i in range(number))
    found = list(small.stream(given, on_error="return", heatmaps=False, batch_size=4))
    assert len(found) == number and isinstance(found[3], PhotoError)
    alone = [small.caption(kind, heatmaps=False).text for kind in kinds]
    for i, caption in enumerate(found):
        assert i == 3 or caption.text == alone[i % len(kinds)]


def test_a_stream_raises_and_refuses_at_once(small, album):
    with pytest.raises(SettingError, match="did you mean beams"):
        small.stream([album / "0.jpg"], num_beams=3)
    found = small.stream([album / "0.jpg", b"no photo", album / "1.jpg"])
    assert next(found).words[0].heatmap is not None
    with pytest.raises(PhotoError, match="Photo 1"):
        list(found)


@pytest.mark.parametrize(
    "name, meant",
    [("num_beams", "beams"), ("num_return_sequences", "alternatives"), ("do_sample", "sample"),
     ("max_new_tokens", "max_length"), ("no_repeat_ngram_size", "no_repeat"), ("beam", "beams")],
)  # fmt: skip
def test_names_of_other_libraries_lead_to_ours(small, name, meant):
    with pytest.raises(SettingError, match=f"did you mean {meant}\\?"):
        small.caption(picture(0), **{name: 2})


def test_what_a_notebook_shows(small):
    caption = small.caption(picture(0))
    assert str(caption) == caption.text and f"{caption}" == caption.text
    assert repr(caption).startswith("<Caption '") and len(repr(caption)) < 150
    assert repr(small).startswith("<Captioner ") and "cpu, float32" in repr(small)
    shown = caption._repr_html_()
    assert shown.count("<span") == len(caption.words) and "data:image/jpeg;base64," in shown
    assert "<img" not in small.caption(picture(0), heatmaps=False)._repr_html_()


def test_a_word_is_found_by_itself(small):
    caption = small.caption(picture(1))
    word = caption.words[-1].text
    first = [w.text.lower() for w in caption.words].index(word.lower())
    assert caption.overlay(word.upper()).tobytes() == caption.overlay(first).tobytes()
    with pytest.raises(CaptionerError, match="no word 'zebra'"):
        caption.overlay("zebra")


# Scores -------------------------------------------------------------------------------------------

TEXTS = ["a dog runs over the grass", "two men play football"]
REFS = [["a dog is running on grass", "the dog runs"], ["two men are playing football"]]
GTS = {7: REFS[0], 9: REFS[1]}
RES = {9: [TEXTS[1]], 7: [TEXTS[0]]}


def test_scores_come_of_every_form_that_is_known():
    plain = score(TEXTS, REFS, bootstrap=0)
    coco = ({k: [{"caption": c} for c in v] for k, v in d.items()} for d in (GTS, RES))
    for found in (
        score(predictions=TEXTS, references=REFS, bootstrap=0),
        score(GTS, RES, bootstrap=0),
        score(*coco, bootstrap=0),
        score(predictions=RES, references=GTS, bootstrap=0),
    ):
        assert found.to_dict() == plain.to_dict()
    one = score(TEXTS, [refs[0] for refs in REFS], "CIDEr-D", bootstrap=0)
    assert list(one) == ["CIDEr-D"] and "CIDEr-D" in one and len(one) == 1
    assert dict(plain)["BLEU-4"] == plain["BLEU-4"] and list(plain.keys()) == list(plain)
    assert repr(plain).startswith("metric") and "ROUGE-L" in repr(plain)
    with pytest.raises(KeyError, match="'METEOR' was not asked for"):
        plain["METEOR"]


@pytest.mark.parametrize(
    "given, sentence",
    [((RES, GTS), r"score\(gts, res\)"), ((TEXTS, GTS), "both lists"), ((TEXTS,), "references"),
     (({7: REFS[0]}, RES), "1 captions have no references; the first is 9"),
     ((GTS, {7: [TEXTS[0]]}), "1 images have no caption; the first is 9")],
)  # fmt: skip
def test_forms_that_do_not_fit_are_sentences(given, sentence):
    with pytest.raises(DataError, match=sentence):
        score(*given)


def test_the_command_reads_captions_by_image(tmp_path):
    (tmp_path / "gts.json").write_text(json.dumps(GTS))
    (tmp_path / "res.json").write_text(json.dumps(RES))
    status, told = typed("score", tmp_path / "res.json", "-r", tmp_path / "gts.json", "--json",
                         "--no-bootstrap")  # fmt: skip
    assert status == 0
    wanted = score(TEXTS, REFS, bootstrap=0).to_dict()["metrics"]
    found = json.loads(told)["metrics"]
    assert {k: v["value"] for k, v in found.items()} == pytest.approx(
        {k: v["value"] for k, v in wanted.items()}
    )
    both = CliRunner().invoke(app, ["score", str(tmp_path / "gts.json"), "-r",
                                    str(tmp_path / "gts.json")])  # fmt: skip
    assert both.exit_code == 2 and "can have one" in both.stderr


# The first half hour ------------------------------------------------------------------------------

# (what is typed, its exit status, what is to be read then)
TYPED = [
    ("captioner a.jpg", 2, "did you mean `captioner caption a.jpg`?"),
    ("captioner --version", 0, "captioner "),
    ("captioner -h", 0, "caption"),
    ("captioner caption", 2, "Name at least one photograph"),
    ("captioner caption a.jpg", 0, "a.jpg\t"),
    ("captioner caption nowhere.jpg", 1, "There is no file or folder nowhere.jpg."),
    ("captioner caption notes.txt", 3, "notes.txt cannot be read as a photo: it is a text"),
    ("captioner caption photos", 0, "3 captioned"),
    ("captioner caption 'photos/*.jpg'", 0, "photos/0.jpg\t"),
    ("captioner caption 'photos/*.png'", 1, "No file fits photos/*.png."),
    ("captioner caption photos --json", 0, '"caption": '),
    ("captioner caption photos -o out.csv", 0, "3 captioned"),
    ("captioner caption photos -o out.tsv", 0, "3 captioned"),
    ("captioner caption photos -o out.html", 0, "3 captioned"),
    ("captioner caption photos -o out.txt", 2, "--format txt writes a text file for each photo"),
    ("captioner caption photos -o out", 2, "take one of .jsonl"),
    ("captioner caption photos -o photos", 2, "name a file in it, or add --format txt"),
    ("captioner caption photos -o a.jpg", 2, "-o would replace a.jpg, which is there already"),
    ("captioner caption photos --format txt", 0, "3 captioned"),
    ("captioner caption photos --format txt --extension .caption", 0, "3 captioned"),
    ("captioner caption photos --format txt --before 'sks dog, '", 0, "3 captioned"),
    ("captioner caption photos --format txt --alternatives 2", 2, "give -o captions.jsonl"),
    ("captioner caption photos --caption-extension .txt", 2, "No such option"),
    ("captioner caption a.jpg --num-beams 5", 2, "--beams"),
    ("captioner caption a.jpg --beams 0", 2, "--beams must be at least 1"),
    ("captioner caption a.jpg --max-length 4", 0, "a.jpg\t"),
    ("captioner caption a.jpg --seed 3", 2, "give --sample, too, or leave --seed out"),
    ("captioner caption a.jpg --temperature 0.7", 2, "give --sample, too"),
    ("captioner caption a.jpg --sample --seed 3", 0, "a.jpg\t"),
    ("captioner caption a.jpg --sample --beams 5", 2, "--sample draws them: leave one of them out"),
    ("captioner caption a.jpg --explain 'A dog.' --prefix A", 2, "--prefix has no meaning beside"),
    ("captioner caption a.jpg --explain 'A dog.' --alternatives 1", 2, "leave one of them out"),
    ("captioner caption a.jpg --sample", 0, "draws the same captions again"),
    ("captioner caption a.jpg --alternatives 2", 0, "a.jpg\t"),
    ("captioner caption a.jpg --alternatives 9", 2, "need a beam of at least 10"),
    ("captioner caption a.jpg --without table,room", 0, "a.jpg\t"),
    ("captioner caption a.jpg --prefix 'Two dogs'", 0, "Two dogs"),
    ("captioner caption a.jpg --replace man", 2, "is to be OLD=NEW, such as man=person"),
    ("captioner caption a.jpg --heatmaps sheets", 0, "a.jpg\t"),
    ("captioner caption photos --dry-run", 0, "Nothing was done; there would be 3 captioned."),
    ("captioner caption a.jpg --model nowhere", 2, "nowhere"),
    ("captioner caption a.jpg --device gpu", 2, "gpu"),
    ("captioner caption a.jpg --write-metadata --skip-captioned", 0, ""),
    ("captioner score res.json -r gts.json --no-bootstrap", 0, "CIDEr-D"),
    ("captioner score res.json -r gts.json --no-bootstrap --metrics CIDEr", 0, "pycocoevalcap"),
    ("captioner score res.json -r gts.json --metrics rouge-9", 2, "There is no metric 'rouge-9'"),
    ("captioner score gts.json -r res.json", 2, "can have one"),
    ("captioner score res.json", 2, "--references"),
    ("captioner export x.jsonl -o y.csv", 0, "2 captions are in y.csv."),
    ("captioner export x.jsonl --below 0.4 --sort confidence", 0, "A man."),
    ("captioner export x.jsonl -o y.docx", 2, "is to be one of jsonl"),
    ("captioner info --model nowhere", 2, "nowhere"),
]
# (a line of Python, what comes of it or the sentence of its error)
ASKED = [
    ("str(model.caption('a.jpg')) == model.caption('a.jpg').text", "True"),
    ("len(model.caption(['a.jpg', 'photos/0.jpg']))", "2"),
    ("model.caption('a.jpg', num_beams=3)", "did you mean beams?"),
    ("model.caption('gone.jpg')", "gone.jpg does not exist."),
    ("model.caption(['a.jpg', 'gone.jpg'])", 'on_error="return" gives the captions of the others'),
    ("len(list(model.stream(['a.jpg', 'gone.jpg'], on_error='return')))", "2"),
    ("model.caption('a.jpg', heatmaps=False).overlay(0)", "caption the photo with heatmaps=True"),
    ("model.caption('a.jpg').overlay('zebra')", "There is no word 'zebra'"),
    ("model.caption('a.jpg', seed=3)", "sample"),
    ("model.caption('a.jpg', sample=True, beams=5)", "sample draws them"),
    ("model.explain('a.jpg', 'A dog.', prefix='A')", "prefix has no meaning beside explain"),
    ("model.caption('a.jpg', without='table').request.without", "('table',)"),
]


@pytest.fixture
def desk(job, album):
    """The current folder, with what people have there."""
    shutil.copytree(album, "photos")
    shutil.copy(album / "0.jpg", "a.jpg")
    Path("notes.txt").write_text("Not a photo.")
    Path("gts.json").write_text(json.dumps(GTS))
    Path("res.json").write_text(json.dumps(RES))


def test_there_are_forty_things():
    assert len(TYPED) >= 40 and len({line for line, *_ in TYPED}) == len(TYPED)


def row(line: str, status: int, answer: str):
    works = line.startswith("captioner caption") and status == 0
    return pytest.param(line, status, answer, id=line, marks=[pytest.mark.slow] if works else [])


@pytest.mark.parametrize("line, status, answer", [row(*one) for one in TYPED])
def test_what_is_typed_first_does_it_or_leads_on(
    desk, tiny, monkeypatch, capsys, line, status, answer
):
    monkeypatch.setenv("CAPTIONER_MODEL", str(tiny))
    monkeypatch.setattr("sys.argv", shlex.split(line))
    with pytest.raises(SystemExit) as left:
        main()
    told = "".join(capsys.readouterr())
    assert (left.value.code or 0) == status, told
    assert answer in told and "Traceback" not in told


@pytest.mark.parametrize("line, answer", ASKED, ids=[line for line, _ in ASKED])
def test_what_is_asked_first_in_python(desk, small, line, answer):
    try:
        found = str(eval(line, {"model": small}))
    except CaptionerError as error:
        found = str(error)
    assert answer in found


def test_the_dockerfile_has_what_it_copies_and_runs():
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 12
    for line in lines:
        if line.startswith("COPY"):
            assert all((ROOT / name).exists() for name in line.split()[1:-1]), line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r'\.\[(.*?)\]"', text)[1].split(",")
    assert set(extras) <= set(project["optional-dependencies"])
    command = json.loads(lines[-1].removeprefix("CMD "))
    assert typed(*command, "--help")[0] == 0
