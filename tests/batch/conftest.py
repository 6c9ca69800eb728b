"""Photos for jobs."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def forty(tmp_path_factory):
    """Forty different photos in two folders; not to be changed."""
    folder = tmp_path_factory.mktemp("forty")
    (folder / "sub").mkdir()
    noise = np.random.default_rng(0)
    for i in range(40):
        small = noise.integers(0, 256, (6, 9, 3), dtype=np.uint8)
        path = folder / ("sub" if i % 4 == 3 else "") / f"{i:02}.jpg"
        Image.fromarray(small).resize((180, 120), Image.Resampling.BICUBIC).save(path)
    return folder


@pytest.fixture
def cluster():
    """A Ray cluster of two cores on this machine."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    pytest.importorskip("ray.data", reason="the extra `ray` is not installed")
    ray.init(
        num_cpus=2, object_store_memory=128 * 2**20, include_dashboard=False, log_to_driver=False
    )
    yield
    ray.shutdown()
