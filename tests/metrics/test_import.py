"""`captioner.metrics` stands alone: light to import, without torch."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "timm", "scipy", "PIL", "pandas", "typer")


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_the_metrics_brings_no_heavy_library() -> None:
    assert (
        run(f"import captioner.metrics, sys; print(*[m for m in {HEAVY} if m in sys.modules])")
        == []
    )


def test_scoring_brings_no_torch_either() -> None:
    loaded = run(
        "from captioner.metrics import score; import sys;"
        "score(['A dog.', 'A cat.'], [['A dog!'], ['The cat.']]);"
        "import captioner.metrics.command;"
        f"print(*[m for m in {HEAVY[:-1]} if m in sys.modules])"
    )
    assert loaded == []


def test_the_metrics_use_little_else_of_the_captioner() -> None:
    loaded = run(
        "import captioner.metrics.command, captioner.metrics.report, captioner.metrics.java, sys;"
        "print(*[m for m in sys.modules if m.startswith('captioner')])"
    )
    others = [name for name in loaded if not name.startswith("captioner.metrics")]
    allowed = {
        f"captioner.{name}" for name in ("errors", "exits", "html", "options", "settings", "texts")
    } | {"captioner"}
    assert {name for name in others if not name.startswith("captioner.annotations")} == allowed


def test_the_import_takes_a_fraction_of_a_second_of_work() -> None:
    """Processor time, the best of three, with room for a slow machine: the aim is 0.3 s."""
    code = "import time; t = time.process_time(); import captioner.metrics;"
    times = [float(run(code + "print(time.process_time() - t)")[0]) for _ in range(3)]
    assert min(times) < 0.6
