"""The wheel: the whole package and nothing else; the command works from it, far from a checkout."""

import os
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from captioner import __version__
from captioner.samples import sample_photos

from .conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unpacked(builtin, tmp_path_factory) -> Path:
    """The wheel, unpacked as an installation does it."""
    build = pytest.importorskip("hatchling.build", reason="hatchling, which builds it, is missing")
    folder, before = tmp_path_factory.mktemp("wheel"), Path.cwd()
    os.chdir(ROOT)
    try:
        name = build.build_wheel(str(folder))
    finally:
        os.chdir(before)
    with zipfile.ZipFile(folder / name) as wheel:
        wheel.extractall(folder / "unpacked")
    return folder / "unpacked"


def files(package: Path) -> set[str]:
    return {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_holds_the_package_its_model_and_its_pages_and_no_tests(unpacked):
    assert files(unpacked / "captioner") == files(ROOT / "captioner")
    [about] = unpacked.glob("*.dist-info")
    assert {path.name for path in unpacked.iterdir()} == {"captioner", about.name}
    assert files(about) >= {"licenses/LICENSE", "licenses/NOTICE", "entry_points.txt"}
    told = HeaderParser().parsestr((about / "METADATA").read_text(encoding="utf-8"))
    assert (told["Name"], told["Version"]) == ("captioner", __version__)


def test_the_command_works_from_it(unpacked, tmp_path):
    pytest.importorskip("skimage")
    photo = next(path for path in sample_photos() if path.name == "chelsea.png")

    def run(*words: str | Path) -> str:
        code = "import captioner.cli as c, sys; print(c.__file__, file=sys.stderr); c.main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)], cwd=tmp_path, text=True,
            env={**os.environ, "PYTHONPATH": str(unpacked)}, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith(str(unpacked)), "not the checkout's"
        return done.stdout

    assert run("--version") == f"captioner {__version__}\n"
    assert "--port" in run("demo", "--help")
    assert "cat" in run("caption", photo, "--heatmaps", tmp_path / "sheets")
    assert len(list((tmp_path / "sheets").iterdir())) == 1
