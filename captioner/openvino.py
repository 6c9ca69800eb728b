"""The encoder on OpenVINO, which needs a half to a third of torch's time for it on a CPU.

An encoder is a pure function from pixels to features, so nothing else of a model knows of it. It is
converted once, by tracing one photo, and kept in the user's cache under a name that follows from
its weights; what is kept is a graph and its numbers, no code. Each photo goes through by itself, so
that its features do not depend on what else is in the batch.
"""

import hashlib
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .errors import CaptionerError
from .files import own_folder

if TYPE_CHECKING:
    from .model import OwnModel


class OpenVinoEncoder:
    """The features of the photos of a model, which is in float32 on the CPU as it was loaded:
    pixels (B, S, S, 3) uint8 -> (B, N, C) float32. dtype: what OpenVINO computes in.
    It takes as many cores as torch has threads.

    Threads may call it at the same time, each on a core of its own.

    Raises CaptionerError where OpenVINO is not installed, or cannot convert the encoder.
    """

    def __init__(self, model: "OwnModel", dtype: torch.dtype):
        openvino = _imported()
        core = openvino.Core()
        precision = {torch.float32: "f32", torch.bfloat16: "bf16"}.get(dtype)
        if precision is None:
            raise CaptionerError(
                "OpenVINO computes in float32 or bfloat16 here: leave out --dtype."
            )
        cache = own_folder("XDG_CACHE_HOME", ".cache")
        file = cache / f"encoder-{_name_of(model, openvino.__version__)}.xml"
        if not (file.exists() and file.with_suffix(".bin").exists()):
            _convert(model, file)
        threads = torch.get_num_threads()
        self._compiled = core.compile_model(
            core.read_model(file), "CPU",
            {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": threads,
             "INFERENCE_NUM_THREADS": threads},
        )  # fmt: skip
        self._mine = threading.local()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        request: Any = getattr(self._mine, "request", None)
        if request is None:
            request = self._mine.request = self._compiled.create_infer_request()
        return np.concatenate([request.infer([one[None]])[0] for one in pixels])


def _imported() -> Any:
    """OpenVINO, without the part of it that tells its makers that it was imported."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise CaptionerError(
            'OpenVINO is not installed: pip install "captioner[openvino]"'
        ) from error
    return openvino


class _Features(nn.Module):
    """A model's `features` as a module's forward, which is what is traced."""

    def __init__(self, model: "OwnModel"):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.features(pixels)


def _name_of(model: "OwnModel", version: str) -> str:
    """What the converted encoder follows from, in 16 digits."""
    digest = hashlib.sha256(f"{version} {torch.__version__}".encode())
    digest.update(repr(sorted(model.config.encoder.to_dict().items())).encode())
    for name, value in sorted(model.state_dict().items()):
        if "encoder." in name:
            digest.update(name.encode())
            digest.update(value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _convert(model: "OwnModel", file: Path) -> None:
    """Write the graph to `file`, whole or not at all: other processes may be at the same."""
    openvino = _imported()
    one = torch.zeros(1, model.side, model.side, 3, dtype=torch.uint8)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=file.parent) as folder,
            warnings.catch_warnings(),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")  # what the trace takes for constant is constant
            traced = torch.jit.trace(_Features(model.float()), one, check_trace=False, strict=False)
            graph = openvino.convert_model(traced, example_input=one, input=list(one.shape))
            made = Path(folder) / file.name
            openvino.save_model(graph, made, compress_to_fp16=False)
            made.with_suffix(".bin").replace(file.with_suffix(".bin"))
            made.replace(file)
    except OSError as error:
        raise CaptionerError(
            f"The converted encoder cannot be kept in {file.parent}: {error.strerror or error}. "
            "XDG_CACHE_HOME names another place."
        ) from error
    except RuntimeError as error:
        raise CaptionerError(
            "OpenVINO cannot convert the encoder of this model; leave out --runtime."
        ) from error
