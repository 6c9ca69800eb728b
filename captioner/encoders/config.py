"""Which backbone, and what it is fed: what a model's config.json says of its encoder."""

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import ModelError

HALF_MEAN = (127 / 255,) * 3
HALF_STD = (128 / 255,) * 3
DETECTOR = "ssd_mobilenet_v2"


@dataclass
class EncoderConfig:
    """Which backbone, and what it is fed.

    library: "timm" or "transformers".
    name: what the backbone is called there. An architecture of timm has random weights; a local
        folder, a hub id, or a timm name with a tag has its pretrained ones.
    size: the photograph is squeezed to (size, size) pixels.
    mean, std: of the pixels in 0..1, per channel.
    fold_batch_norm: batch norms are multiplied into the convolutions before them: the same
        function, 2-5 times faster on a CPU, and frozen for training.
    frozen_stages: for backbones made of `blocks` (the EfficientNet family), how many leading
        blocks belong to the trunk, which training may freeze and cache. 0: no trunk.
    detector: "ssd_mobilenet_v2" puts an object detector beside an EfficientNet-Lite, whose classes
        are further channels of each patch (`encoders.beside`); "" for none.
    backbone: the architecture behind a folder, hub id or tag. A saved model has it, and is then
        built without folder or hub and without their weights. None: look at `name`.

    Raises ModelError for a size, mean, std or number of stages that cannot be.
    """

    library: str = "timm"
    name: str = "tf_efficientnet_lite2"
    size: int = 260
    mean: tuple[float, ...] = HALF_MEAN
    std: tuple[float, ...] = HALF_STD
    fold_batch_norm: bool = True
    frozen_stages: int = 0
    detector: str = ""
    backbone: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        # Lists (from JSON) and tuples must give the same config.
        self.mean = tuple(float(value) for value in self.mean)
        self.std = tuple(float(value) for value in self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ModelError("The encoder's mean and std are three numbers each, std above 0.")
        if self.size < 1 or self.frozen_stages < 0:
            raise ModelError("The encoder's size is at least 1, and frozen_stages at least 0.")
        if self.detector not in ("", DETECTOR):
            raise ModelError(f"There is no detector {self.detector!r}; there is {DETECTOR!r}.")
        # What the encoder found behind `name`. Not in `backbone` itself: a second model built from
        # this same config would then come out with random weights.
        self.found: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields for config.json, `backbone` included once a model was built.

        Caches of features are named by a hash of this (train/features.py): a field added later
        must be left out while it has its default, or every cache is computed anew.
        """
        data = asdict(self) | {"backbone": self.backbone or self.found}
        if not self.detector:
            del data["detector"]
        return data
