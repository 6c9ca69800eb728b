"""What several tests need: a tiny model, the sample photographs, the data folder."""

import os
from pathlib import Path

# Tests run side by side, a process for each core. Threads of torch that share a core wait for one
# another by spinning, which made some tests ten times as long. The page's server takes a thread for
# each core whatever is said here; those wait asleep.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from captioner.captioner import Captioner
from captioner.decoder import DecoderConfig
from captioner.encoders import EncoderConfig
from captioner.generation import Search
from captioner.model import CaptionModel, ModelConfig
from captioner.tokenizer import CaptionTokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A busy machine is no fault of a test.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")
ROOT = Path(__file__).parent.parent
BUILTIN = ROOT / "captioner" / "builtin"

HEAVY = {"alone", "browser", "builtin", "cluster", "java", "made", "squares", "unbroken"}
"""Fixtures that a test cannot be quick with: browsers, clusters, training, models of some size."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """`make quick` leaves out what stands on one of those."""
    for item in items:
        if HEAVY & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


CAPTIONS = [
    "A black dog runs over the snow .",
    "Two dogs play in the snow.",
    "A man rides a bike down a hill",
    "A plate of food on a wooden table.",
    "A child in a red t-shirt jumps into the water.",
]


def tiny_model(seed: int = 0, **decoder: int) -> CaptionModel:
    """A captioner with random weights, big enough to be confused and small enough to be quick."""
    torch.manual_seed(seed)
    tokenizer = CaptionTokenizer.train(CAPTIONS, 300)
    sizes = {"width": 32, "layers": 2, "heads": 4, "positions": 32, **decoder}
    config = ModelConfig(
        encoder=EncoderConfig(name="tf_efficientnet_lite0", size=96, fold_batch_norm=True),
        decoder=DecoderConfig(vocab_size=len(tokenizer), dropout=0.0, **sizes),
        search=Search(beams=3, max_length=12),
    )
    model = CaptionModel(config, tokenizer).eval()
    with torch.no_grad():
        # The small normals of training would make every next token about as likely as any other.
        for parameter in model.decoder.parameters():
            parameter.mul_(4)
    return model


@pytest.fixture(scope="session")
def model() -> CaptionModel:
    return tiny_model()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a model with random weights; quick, and sure of nothing."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    model = tiny_model()
    model.config.about = {"name": "tiny", "version": "1"}
    model.save(path)
    return path


@pytest.fixture(scope="session")
def small(model) -> Captioner:
    return Captioner(model, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """Three different pictures as (3, 96, 96, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real photographs with captions (flickr8k, coco2017-mini, ...)."""
    folder = Path(os.environ.get("CAPTIONER_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the data folder {folder} is not here; set CAPTIONER_DATA")
    return folder


@pytest.fixture(scope="session")
def builtin() -> Path:
    if not (BUILTIN / "model.safetensors").is_file():
        pytest.skip("the model in the box is not in this checkout")
    return BUILTIN
