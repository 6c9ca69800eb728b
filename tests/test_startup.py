"""What the first caption costs: modules that it must not import, and weights held once."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = (
    "datasets", "fastapi", "gradio", "httpx", "jinja2", "matplotlib", "pandas", "pycocotools",
    "ray", "requests", "scipy", "skimage", "sympy", "timm", "torch._dynamo", "torch._inductor",
    "torchvision", "transformers",
)  # fmt: skip
PROGRAM = """
import json, sys
from pathlib import Path
from captioner.captioner import load

def peak():
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) * 1024

before = peak()
weights = sum(p.nbytes for p in load(device="cpu").own.parameters())
grown = peak() - before
from captioner.cli import main
sys.argv = ["captioner", "caption", sys.argv[1], "--device", "cpu"]
try:
    main()
except SystemExit as end:
    assert not end.code
print(json.dumps([sorted(sys.modules), weights, grown]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux tells it")
def test_a_caption_imports_nothing_heavy_and_loading_holds_the_weights_once(builtin, tmp_path):
    from PIL import Image

    Image.new("RGB", (400, 300), "green").save(tmp_path / "photo.png")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "photo.png")],
        capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    modules, weights, grown = json.loads(done.stdout.splitlines()[-1])
    assert set(HEAVY) & set(modules) == set()
    # The file is mapped, a quarter of the weights in it; twice the weights would be read as 2.25.
    assert grown < 1.75 * weights
