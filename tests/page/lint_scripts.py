"""Lint the page's scripts: python -m tests.page.lint_scripts

Gradio runs the files of a part as the body of one function, so each is linted as that: names of
another file are known, and a misspelt one is found.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from captioner.page.assets import SCRIPTS, script

CONFIG = Path(__file__).parent / "oxlintrc.json"
GIVEN = "element, trigger, props, server, upload, watch"
"""What gradio calls its arguments."""


def main() -> int:
    oxlint = Path(sys.executable).with_name("oxlint")
    with TemporaryDirectory() as folder:
        for part in SCRIPTS:
            function = f"export function {part}({GIVEN}) {{\n{script(part)}\n}}\n"
            (Path(folder) / f"{part}.js").write_text(function, encoding="utf-8")
        return subprocess.run([oxlint, "--config", CONFIG, folder]).returncode


if __name__ == "__main__":
    sys.exit(main())
