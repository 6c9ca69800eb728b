"""A saved tiny model and photos."""

import numpy as np
import pytest
from PIL import Image

from tests.conftest import tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a model with random weights; quick, and sure of nothing."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    model = tiny_model()
    model.config.about = {"name": "tiny", "version": "1"}
    model.save(path)
    return path


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
