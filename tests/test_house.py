"""What keeps the house easy to live in: short functions, short files, no import circle."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

from .conftest import ROOT

FILES = sorted(f for d in ("captioner", "train", "eval") for f in (ROOT / d).rglob("*.py"))
TABLE = ROOT / "captioner" / "metrics" / "ptb.py"
"""The rules of a tokenizer, one after another: the only file that may be longer."""


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(file) for file in FILES}


def imported(file: Path) -> Iterator[str]:
    """The modules of this house that a file imports, those within its functions included."""
    package = module(file) if file.name == "__init__.py" else module(file).rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in MODULES else base


LATE = ("captioner.captioner", "captioner.batch.stream")
"""`Captioner.stream` is a short way into the folder job, which stands on the Captioner."""


def test_no_file_imports_in_a_circle():
    graph = {module(f): set(imported(f)) & MODULES - {module(f)} for f in FILES}
    graph[LATE[0]].remove(LATE[1])
    for name in graph:  # a package's front door names what is behind it
        if (ROOT / name.replace(".", "/")).is_dir():
            graph[name] = {n for n in graph[name] if not n.startswith(f"{name}.")}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_library_imports_neither_training_nor_evaluation():
    users = {module(f): set(imported(f)) for f in FILES if module(f).startswith("captioner")}
    assert not {n: u for n, u in users.items() if any(x.startswith(("train", "eval")) for x in u)}


def test_a_function_fits_a_screen_and_a_file_holds_one_idea():
    long = []
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if len(text.splitlines()) > 450:
            long.append(module(file))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and file != TABLE:
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 80:
                    long.append(f"{module(file)}.{node.name}")
    assert not long
