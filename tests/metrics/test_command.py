"""`captioner score` as people run it: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from captioner.errors import CaptionerError
from captioner.metrics.command import score as command

REFERENCES = {
    "images": [{"id": n, "file_name": f"{n:012}.jpg"} for n in range(1, 9)],
    "annotations": [
        {"image_id": n, "caption": caption}
        for n, animal in enumerate(
            ["dog", "cat", "horse", "cow", "bird", "bear", "zebra", "sheep"], 1
        )
        for caption in (f"A {animal} stands on the grass.", f"The brown {animal} looks around.")
    ],
}
GOOD = [
    {"image_id": row["image_id"], "caption": row["caption"].replace("on the", "in the")}
    for row in REFERENCES["annotations"][::2]
]
POOR = [{"image_id": row["image_id"], "caption": "A man rides a wave."} for row in GOOD]


@pytest.fixture
def run(files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """run("results.json", "--json") with the files above in the working folder."""
    monkeypatch.chdir(tmp_path)
    files("refs.json", REFERENCES)
    files("good.json", GOOD)
    files("poor.json", POOR)
    app = typer.Typer()
    app.command()(command)

    def go(*arguments: str, references: str = "refs.json"):
        return CliRunner().invoke(app, [*arguments, "-r", references])

    return go


def test_the_table_has_scores_intervals_and_a_signature(run) -> None:
    done = run("good.json")
    assert done.exit_code == 0, done.stderr
    assert "8 images, 16 references" in done.stdout
    for name in ("CIDEr-D", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"):
        line = next(line for line in done.stdout.splitlines() if line.startswith(name + " "))
        value, low, high, hundred = re.findall(r"\d+\.\d+", line)
        assert float(low) <= float(value) <= float(high)
        assert float(hundred) == pytest.approx(100 * float(value), abs=0.06)
    signature = done.stdout.splitlines()[-1]
    for part in ("CIDEr-D(n=4,sigma=6)", "tokens:ptb-3.4.1", "images:8", "references:16"):
        assert part in signature
    assert "df:references" in signature
    assert "bootstrap:1000,seed:0" in signature


def test_json_is_the_documented_shape(run) -> None:
    done = run("good.json", "--json")
    content = json.loads(done.stdout)
    assert content["images"] == 8
    assert set(content["metrics"]) == {
        "CIDEr-D",
        "BLEU-1",
        "BLEU-2",
        "BLEU-3",
        "BLEU-4",
        "ROUGE-L",
    }
    assert set(content["metrics"]["CIDEr-D"]) == {"value", "low", "high"}
    assert 0 < content["metrics"]["BLEU-4"]["value"] < 1
    assert "CIDEr-D" in content["signature"]


def test_without_bootstrap_there_are_no_intervals(run) -> None:
    for option in (["--no-bootstrap"], ["--bootstrap", "0"]):
        content = json.loads(run("good.json", "--json", *option).stdout)
        assert set(content["metrics"]["CIDEr-D"]) == {"value"}
        assert "bootstrap:none" in content["signature"]


def test_metrics_are_chosen_by_name_in_any_case(run) -> None:
    content = json.loads(run("good.json", "--json", "--metrics", "rouge-l,cider,bleu4").stdout)
    assert list(content["metrics"]) == ["CIDEr", "BLEU-4", "ROUGE-L"]


def test_per_image_scores_average_to_the_corpus(run, tmp_path: Path) -> None:
    done = run("good.json", "--json", "--per-image", "each.csv")
    assert done.exit_code == 0, done.stderr
    with (tmp_path / "each.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == [str(n) for n in range(1, 9)]
    assert rows[0]["file"] == "000000000001.jpg"
    assert rows[0]["caption"] == GOOD[0]["caption"]
    mean = sum(float(row["CIDEr-D"]) for row in rows) / 8
    corpus = json.loads(done.stdout)["metrics"]["CIDEr-D"]["value"]
    assert mean == pytest.approx(corpus, abs=1e-12)
    run("good.json", "--per-image", "each.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "each.jsonl").read_text().splitlines()]
    assert [line["CIDEr-D"] for line in lines] == [float(row["CIDEr-D"]) for row in rows]


def test_compare_says_plainly_which_is_better(run) -> None:
    done = run("poor.json", "--compare", "good.json")
    assert done.exit_code == 0, done.stderr
    assert "good.json is better than poor.json: its CIDEr-D x100 is higher by" in done.stdout
    content = json.loads(run("good.json", "--compare", "poor.json", "--json").stdout)
    difference = content["compare"]["differences"]["CIDEr-D"]
    assert difference["difference"] == pytest.approx(difference["value"] - difference["other"])
    assert 0 < difference["low"] <= difference["difference"] <= difference["high"]
    assert 0 < difference["p"] < 0.05
    assert content["compare"]["verdict"].startswith("good.json is better than poor.json")


def test_compare_says_when_there_is_no_difference(run, files) -> None:
    assert "have the same scores" in run("good.json", "--compare", "good.json").stdout
    mixed = [row | {"caption": POOR[0]["caption"]} if n == 3 else row for n, row in enumerate(GOOD)]
    other = [row | {"caption": POOR[0]["caption"]} if n == 5 else row for n, row in enumerate(GOOD)]
    files("mixed.json", mixed)
    files("other.json", other)
    assert "No clear difference between" in run("mixed.json", "--compare", "other.json").stdout


def test_compare_scores_the_photos_that_both_have(run, files) -> None:
    files("half.json", GOOD[:5])
    assert run("good.json", "--compare", "half.json").exit_code == 2
    done = run("good.json", "--compare", "half.json", "--allow-missing", "--json")
    assert json.loads(done.stdout)["images"] == 5
    assert "3 images (the first is 6) of refs.json have no caption in half.json" in done.stderr


def test_allow_missing_says_how_many_were_left_out(run, files) -> None:
    files("half.json", [*GOOD[:5], {"image_id": 99, "caption": "A dog."}])
    done = run("half.json", "--allow-missing", "--json")
    assert done.exit_code == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["images"] == 5
    assert "3 images (the first is 6) of refs.json have no caption" in done.stderr
    assert "1 caption (99) in half.json has no references" in done.stderr
    assert len(content["left_out"]) == 2


def test_document_frequencies_are_saved_and_used(run, files) -> None:
    assert run("good.json", "--save-df", "df.json.gz").exit_code == 0
    saved = Path("df.json.gz").read_bytes()
    alone = run("--save-df", "df.json.gz")
    assert alone.stdout == "Document frequencies of 8 images are in df.json.gz.\n"
    assert Path("df.json.gz").read_bytes() == saved
    whole = json.loads(run("good.json", "--json", "--per-image", "all.jsonl").stdout)
    same = json.loads(run("good.json", "--json", "--df", "df.json.gz").stdout)
    assert same["metrics"]["CIDEr-D"] == whole["metrics"]["CIDEr-D"]
    assert "df:df.json.gz(8 images)" in same["signature"]
    one = {
        "images": REFERENCES["images"][:1],
        "annotations": REFERENCES["annotations"][:2],
    }
    files("one.json", one)
    files("one_result.json", GOOD[:1])
    refused = run("one_result.json", references="one.json")
    assert refused.exit_code == 2
    assert "CIDEr of one image is undefined" in refused.stderr
    alone = json.loads(
        run("one_result.json", "--df", "df.json.gz", "--json", references="one.json").stdout
    )
    first = json.loads(Path("all.jsonl").read_text().splitlines()[0])
    assert alone["metrics"]["CIDEr-D"]["value"] == pytest.approx(first["CIDEr-D"], abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give a results file"),
        (["none.json"], "There is no file none.json."),
        (["refs.json"], "references, not results"),
        (["good.json", "--metrics", "CIDEr-X"], "There is no metric 'CIDEr-X'"),
        (["good.json", "--metrics", ""], "There is no metric ''"),
        (["good.json", "--per-image", "each.txt"], "must end with .csv or .jsonl"),
        (["good.json", "--per-image", "none/each.csv"], "none/each.csv cannot be written"),
        (["good.json", "--report", "none/page.html"], "none/page.html cannot be written"),
        (["good.json", "--save-df", "none/df.json"], "none/df.json cannot be written"),
        (["good.json", "--images", "."], "add --report"),
        (["good.json", "--report", "r.html", "--images", "none"], "is not a folder"),
        (["good.json", "--compare", "poor.json", "--no-bootstrap"], "needs bootstrap draws"),
        (["good.json", "--compare", "none.json"], "There is no file none.json."),
        (["good.json", "--df", "none.json"], "cannot be read"),
        (["good.json", "--df", "good.json"], "does not hold document frequencies"),
        (["good.json", "--split", "test"], "has no splits"),
        (["good.json", "--bootstrap", "-1"], "bootstrap"),
        (["good.json", "--no-such-option"], "No such option"),
    ],
)
def test_mistakes_end_with_a_sentence_and_status_2(run, arguments, sentence: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""


def test_the_report_is_one_page_with_everything_inside(run, files, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "photos" / "deeper"
    folder.mkdir(parents=True)
    Image.new("RGB", (900, 600), "teal").save(folder / "000000000001.jpg")
    Image.new("RGB", (600, 900), "olive").save(folder / "COCO_train2014_000000000002.jpg")
    (folder / "000000000003.jpg").write_text("not a photo")
    risky = [dict(row) for row in GOOD]
    risky[0]["caption"] = 'A dog <script>alert("1")</script> & on the grass'
    files("risky.json", risky)
    done = run(
        "risky.json", "--compare", "poor.json", "--report", "page.html", "--images", "photos"
    )
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "A dog &lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; &amp; on the grass" in page
    # Nothing is loaded from elsewhere.
    assert not re.search(r"(src|href)\s*=\s*(?!'data:image/jpeg;base64,)", page)
    assert "url(" not in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert page.count("photo cannot be read") == 1
    assert page.count("photo not found") == 5
    assert page.count("<article>") == 8
    assert "is better than poor.json" in page
    for row in REFERENCES["annotations"]:
        assert row["caption"] in page
    assert "<svg" in page
    assert "prefers-color-scheme: dark" in page


def test_the_report_needs_no_photos_and_no_intervals(run, tmp_path: Path) -> None:
    done = run("poor.json", "--report", "page.html", "--no-bootstrap", "--metrics", "CIDEr-D")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert "<img" not in page
    assert "--images DIR" in page
    assert "bootstrap interval" not in page
    best, worst = page.split("Worst captions")
    assert best.count("<article>") == worst.count("<article>") == 4


def test_the_reports_best_captions_are_the_best(run, files, tmp_path: Path) -> None:
    mixed = GOOD[:4] + POOR[4:]
    files("mixed.json", mixed)
    run("mixed.json", "--report", "page.html")
    best, worst = (tmp_path / "page.html").read_text().split("Worst captions")
    for row in GOOD[:4]:
        assert row["caption"] in best
    assert worst.count(POOR[0]["caption"]) == 4


HALF = "A dog \ud83d on the grass"
BYTES = os.fsdecode(b"latin-\xe9.jpg")


def test_half_an_emoji_and_names_that_are_not_utf8_are_written(run, files, tmp_path: Path) -> None:
    rows = [dict(row) for row in GOOD]
    rows[0] |= {"caption": HALF, "file": BYTES}
    rows[1] |= {"caption": "=1+1", "file": "-dash.jpg"}
    files("odd.json", rows)
    refs = json.loads(json.dumps(REFERENCES))
    refs["annotations"][0]["caption"] = HALF
    files("odd_refs.json", refs)
    outputs = ["--per-image", "each.jsonl", "--report", "page.html"]
    done = run("odd.json", *outputs, references="odd_refs.json")
    assert done.exit_code == 0, done.output
    first = json.loads((tmp_path / "each.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (first["caption"], first["file"]) == (HALF, BYTES)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "A dog \\ud83d on the grass" in page and "latin-\\xe9.jpg" in page
    assert run("odd.json", "--per-image", "each.csv", references="odd_refs.json").exit_code == 0
    with (tmp_path / "each.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["file"] == "latin-\\xe9.jpg" and lines[1]["caption"] == "'=1+1"
    (tmp_path / BYTES).write_text(json.dumps(GOOD))
    done = run(BYTES, "--compare", "poor.json")
    assert done.exit_code == 0 and "latin-\\xe9.jpg is better than" in done.stdout


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize(
    "arguments",
    [
        ["--report", "refs.json"],
        ["--report", "photos/1.jpg", "--images", "photos"],
        ["--save-df", "refs.json"],
        ["--save-df", "df.json", "--df", "df.json"],
        ["--per-image", "results.jsonl"],
        ["--per-image", "other.jsonl", "--compare", "other.jsonl"],
        ["--report", "link.html"],
    ],
)
def test_no_output_replaces_an_input(run, files, tmp_path: Path, arguments, overwrite) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in GOOD)
    files("results.jsonl", lines)
    files("other.jsonl", lines)
    (tmp_path / "photos").mkdir()
    files("photos/1.jpg", "a photo")
    (tmp_path / "link.html").hardlink_to(tmp_path / "refs.json")
    assert run("--save-df", "df.json").exit_code == 0
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    done = run("results.jsonl", *arguments, *overwrite)
    assert done.exit_code == 2 and arguments[0] in done.stderr and "would replace" in done.stderr
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "name", ["--report=a.html", "--save-df=a.json", "--save-df=a.json.gz", "--per-image=a.csv",
             "--per-image=a.jsonl"],
)  # fmt: skip
def test_an_output_replaces_its_like_and_nothing_else_unasked(run, tmp_path: Path, name) -> None:
    path = tmp_path / name.partition("=")[2]
    assert run("good.json", name).exit_code == run("poor.json", name).exit_code == 0
    path.write_text('{"image_id": 7, "caption": "mine"}\n')
    refused = run("good.json", name)
    assert refused.exit_code == 2 and "--overwrite" in refused.stderr
    assert "mine" in path.read_text()
    assert run("good.json", name, "--overwrite").exit_code == 0
    assert b"mine" not in path.read_bytes()


def test_the_library_speaks_of_arguments_and_the_command_of_options(run, files) -> None:
    files("half.json", GOOD[:5])
    assert "add --allow-missing to score the rest" in run("half.json").stderr
    assert "leave --split out" in run("good.json", "--split", "test").stderr
    assert "--seed must be 0 or more" in run("good.json", "--seed", "-1").stderr
    from captioner.metrics import score
    from captioner.metrics.matching import match
    from captioner.metrics.readers import read_references, read_results

    with pytest.raises(CaptionerError, match="add allow_missing to score the rest"):
        match(read_results("half.json"), read_references("refs.json"), "half.json")
    with pytest.raises(CaptionerError, match="seed must be 0 or more"):
        score(["a", "b"], [["a"], ["b"]], seed=-1)


def test_photos_outside_the_folder_are_never_shown(run, files, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 48), "teal").save(tmp_path / "secret.jpg")
    rows = [row | {"file": name} for row, name in zip(
        GOOD, ["../secret.jpg", str(tmp_path / "secret.jpg")] * 4, strict=True)]  # fmt: skip
    files("outside.json", rows)
    done = run("outside.json", "--report", "page.html", "--images", "photos")
    assert done.exit_code == 0, done.stderr
    assert "data:image" not in (tmp_path / "page.html").read_text()
