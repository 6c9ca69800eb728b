"""docs/cross-attention.md: its snippets run, its figures are right, its names and tables exist."""

import re
from importlib import import_module

import pytest
import torch

import captioner
from captioner.captioner import Captioner
from captioner.decoder import DecoderConfig
from eval import cost

from .conftest import ROOT

PAGE = (ROOT / "docs" / "cross-attention.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def look_at_a_photo(capsys) -> None:
    """Runs the snippet that loads a model, and checks what it got."""
    (snippet,) = (s for s in SNIPPETS if "captioner.load" in s)
    names: dict = {}
    exec(compile(snippet, "docs/cross-attention.md", "exec"), names)
    model, caption, weights = names["model"], names["caption"], names["weights"]
    layers, heads = len(model.layers), model.config.decoder.heads
    height, width = model.grid
    assert weights.shape == (layers, heads, len(caption.ids), height * width)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert names["words"], "the caption has no words"
    for heatmap in names["maps"]:
        assert heatmap.shape == (height, width)
        assert float(heatmap.sum()) == pytest.approx(1, abs=1e-4)
    assert len(capsys.readouterr().out.splitlines()) == len(names["words"])


def test_the_snippet_gets_the_weights_of_a_random_model(model, monkeypatch, capsys):
    tiny = Captioner(model, device=torch.device("cpu"), dtype=torch.float32)
    monkeypatch.setattr(captioner, "load", lambda *_, **__: tiny)
    look_at_a_photo(capsys)


def test_the_snippet_gets_the_weights_of_the_model_in_the_box(builtin, capsys):
    look_at_a_photo(capsys)


def test_the_formula_snippet_holds():
    (snippet,) = (s for s in SNIPPETS if "captioner.load" not in s)
    exec(compile(snippet, "docs/cross-attention.md", "exec"), {})


def test_the_figures_are_those_of_the_shipped_sizes():
    config = DecoderConfig()
    assert (config.width, config.layers, config.heads) == (384, 3, 6)
    numbers = cost.memory_numbers(config, 1, 100)
    weights = cost.weight_numbers(config, 1, 16, 100)
    million = cost.memory_operations(config, 1, 100) / 1e6
    attention = cost.attention_operations(config, 1, 16, 100)
    projections = cost.attention_operations(config, 1, 16, 0)
    for figure in (
        f"= {numbers:,} numbers ({numbers * 4 / 1024:.0f} KiB",
        f"{million:.1f} million multiply-adds",
        f"{projections / 1e6:.1f} million",
        f"{(attention - projections) / 1e6:.1f} million for QKᵀ",
        f"{weights:,} numbers ({weights * 4 / 1024:.0f} KiB)",
    ):
        assert figure in " ".join(PAGE.split())


def test_the_names_it_sends_readers_to_exist():
    """Each row of the table: a file, and names in backticks that stand in it."""
    rows = re.findall(r"\| \[`([\w/.]+)`\]\(\.\./([\w/.]+)\) \| (.*) \|", PAGE)
    assert len(rows) == 7
    for shown, target, text in rows:
        assert shown == target
        module = import_module(shown.removesuffix(".py").replace("/", "."))
        source = (ROOT / target).read_text(encoding="utf-8")
        for name in re.findall(r"`([\w.]+)`", text):
            last = name.rsplit(".", 1)[-1]
            assert hasattr(module, last) or f"def {last}(" in source, f"{name} is not in {shown}"
    for test, file in re.findall(r"`(test_\w+)` in\s+`(tests/\w+\.py)`", PAGE):
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")


def test_the_tables_are_those_the_command_prints():
    """The same titles and axes in the same order; the figures are of a machine."""
    block = PAGE.split(cost.BEGIN)[1].split(cost.END)[0]
    assert "python -m eval cost" in block
    _, *tables = re.split(r"^(?=\*\*)", block, flags=re.MULTILINE)
    for table, experiment in zip(tables, cost.experiments(False), strict=True):
        letter = cost.LETTERS[experiment.axis]
        assert table.startswith(f"**{experiment.title}, against {letter}** (")
        sizes = [int(size) for size in re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)]
        assert len(sizes) >= 2 and set(sizes) <= set(experiment.values)
        assert "| growth |" in table
