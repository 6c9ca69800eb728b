"""docs/cli.md is what `make docs` writes from the commands themselves."""

import re
import subprocess
import sys

from .conftest import ROOT


def said(page: str) -> list[str]:
    """What the page says, without how this version of typer sets it: types, spaces, line ends."""
    text = re.sub(r"\s*<[^>`]+>|\s+\[\w+[^\]]*\]", "", page.replace("Command Line Interface", ""))
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_the_reference_is_that_of_the_commands(tmp_path):
    made = tmp_path / "cli.md"
    subprocess.run(
        [sys.executable, "-m", "typer", "captioner.cli", "utils", "docs", "--name", "captioner",
         "--output", str(made)],
        check=True, capture_output=True, cwd=ROOT,
    )  # fmt: skip
    kept = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert said(kept) == said(made.read_text(encoding="utf-8")), "stale: run `make docs`"
