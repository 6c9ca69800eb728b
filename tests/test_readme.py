"""The README's commands and code run as they stand."""

import ast
import json
import re
import shlex
import shutil

import pytest

from captioner.samples import sample_photos

from .commands import run
from .conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


PAGES = {path.name: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}


def blocks(kind: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


COMMANDS = [
    line.split("  #")[0].strip()
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("captioner ")
]


@pytest.fixture(scope="module")
def place(builtin, tmp_path_factory):
    """A folder with what the README's commands name."""
    pytest.importorskip("skimage")
    folder = tmp_path_factory.mktemp("readme")
    (folder / "photos").mkdir()
    for number, name in enumerate(("chelsea.png", "coffee.png")):
        source = next(p for p in sample_photos() if p.name == name)
        shutil.copy(source, folder / "photos" / f"{number}.png")
        shutil.copy(source, folder / ("photo.jpg", "other.png")[number])
    images = [{"id": i, "file_name": f"{i}.png"} for i in range(2)]
    annotations = [
        {"id": 0, "image_id": 0, "caption": "A cat looks up."},
        {"id": 1, "image_id": 1, "caption": "A cup of coffee on a table."},
    ]
    content = {"images": images, "annotations": annotations}
    (folder / "captions.json").write_text(json.dumps(content))
    results = [{"image_id": i, "caption": "A cat on a table."} for i in range(2)]
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_the_readme_has_commands():
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(place, command):
    done = run(*shlex.split(command)[1:], cwd=place)
    assert done.returncode == 0, done.stderr
    if written := re.search(r" -o (\S+)", command):
        assert (place / written[1]).stat().st_size
    elif "--format txt" in command:
        assert len(list(place.glob("photos/*.txt"))) == 2
    elif "--write-metadata" in command:
        assert len(list(place.glob("photos/*_original"))) == 2
    elif ">" not in command:
        assert done.stdout.strip()


@pytest.mark.parametrize("page", ["README.md", "python.md"])
def test_the_python_runs(place, page, monkeypatch):
    monkeypatch.chdir(place)
    (place / "all-words.png").unlink(missing_ok=True)
    names: dict = {}
    for block in blocks("python", PAGES[page].read_text(encoding="utf-8")):
        exec(compile(block, page, "exec"), names)
    assert (place / "all-words.png").exists()


def test_the_notebook_runs(place, monkeypatch):
    """Its cells in their order, and what each ends with shown, as a notebook does it."""
    monkeypatch.chdir(place)
    notebook = json.loads((ROOT / "docs" / "example.ipynb").read_text(encoding="utf-8"))
    names: dict = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            *body, last = ast.parse("".join(cell["source"])).body
            exec(compile(ast.Module(body, []), "example.ipynb", "exec"), names)
            if isinstance(last, ast.Expr):
                shown = eval(compile(ast.Expression(last.value), "example.ipynb", "eval"), names)
                assert getattr(shown, "_repr_html_", shown.__repr__)()
            else:
                exec(compile(ast.Module([last], []), "example.ipynb", "exec"), names)
            assert not cell["outputs"], "kept without what it showed"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = PAGES[page].read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (PAGES[page].parent / target).exists(), target


def test_make_targets_and_files_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    for name in re.findall(r"`((?:docs|captioner)/[\w./-]+)`", README):
        assert (ROOT / name).exists(), name


def test_nothing_is_left_to_fill_in():
    assert not re.findall(r"@[A-Z]+@", README)
