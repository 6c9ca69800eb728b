"""A recipe: every setting of a training run, from a TOML file and the command line."""

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from captioner.errors import DataError

RECIPES = Path(__file__).parent / "recipes"


@dataclass
class Recipe:
    """The run has four stages: text (the decoder alone, as a language model), captions
    (cross-entropy), polish (the same again, as the learning rate falls a second time), and scst
    (self-critical, on CIDEr-D). A stage of 0 epochs or steps is skipped.

    encoder: a timm name; with `encoder_weights` "imagenet" it must be one of
        `train.imagenet.PACKAGES`, with "none" the encoder begins from nothing (for tests).
    size: the photograph is squeezed to size x size pixels.
    trunk_stages: leading stages of the encoder that stay as they are and are computed once
        for each view; the rest of the encoder learns from epoch `unfreeze_epoch` on.
    views: 1 is the photo alone, 2 adds its mirror image, more add random crops and colours.
    vocab_size ... dropout: the decoder's.
    text_steps, text_batch, text_lr: stage 1, in batches of `text_batch` captions.
    epochs, batch_photos, captions_per_photo, lr, encoder_lr: stage 2.
    polish_epochs, polish_lr: stage 3, the encoder learning from its beginning.
    scst_epochs, scst_lr, scst_samples: stage 4.
    scst_xe: weight of the cross-entropy kept beside the reward.
    warmup: steps of linear warm-up of stages 1 and 2; then the rate falls by a cosine to 5%.
    beams, length_penalty, max_length: of the search, in validation and in the saved model.
    max_tokens: longer captions are cut in cross-entropy, without an end token (a batch is as long
        as its longest caption, so the few long ones cost most of the time); the longest sample
        of scst.
    ema: decay of the moving average of the weights, which is what is validated and saved.
    val_photos: at most so many photos of each validation set are captioned during training.
    """

    name: str = "recipe"
    encoder: str = "tf_efficientnet_lite2"
    encoder_weights: str = "imagenet"
    size: int = 260
    trunk_stages: int = 5
    views: int = 6
    vocab_size: int = 6000
    width: int = 384
    layers: int = 3
    heads: int = 6
    positions: int = 64
    dropout: float = 0.15
    text_steps: int = 0
    text_batch: int = 512
    text_lr: float = 1e-3
    epochs: int = 10
    batch_photos: int = 64
    captions_per_photo: int = 5
    lr: float = 6e-4
    encoder_lr: float = 1e-4
    unfreeze_epoch: int = 4
    warmup: int = 150
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    clip: float = 1.0
    ema: float = 0.995
    polish_epochs: int = 0
    polish_lr: float = 2.5e-4
    scst_epochs: int = 0
    scst_lr: float = 3e-5
    scst_samples: int = 5
    scst_xe: float = 0.0
    beams: int = 3
    length_penalty: float = 0.0
    max_length: int = 30
    max_tokens: int = 18
    val_photos: int = 400
    sample_photos: int = 4
    seed: int = 1
    dtype: str = "auto"
    weights: str = "float16"

    @classmethod
    def load(cls, name: str, changes: dict[str, Any] | None = None) -> "Recipe":
        """A recipe by name (a file of train/recipes) or path, with some fields changed.

        Raises DataError for an unknown recipe, field, or a value of the wrong type.
        """
        path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
            raise DataError(f"There is no recipe {name!r}; known: {known}.") from error
        except (OSError, ValueError) as error:
            raise DataError(f"The recipe {path} cannot be read: {error}.") from error
        return cls.build({"name": path.stem, **values, **(changes or {})})

    @classmethod
    def build(cls, values: dict[str, Any]) -> "Recipe":
        kinds = {f.name: f.type for f in fields(cls)}
        clean = {}
        for key, value in values.items():
            if key not in kinds:
                raise DataError(f"The recipe has no field {key!r}; known: {', '.join(kinds)}.")
            kind: Any = kinds[key]
            try:
                if kind is int and float(value) != int(value):
                    raise ValueError
                clean[key] = kind(value)
            except (TypeError, ValueError) as error:
                raise DataError(f"{key} must be {kind.__name__}, not {value!r}.") from error
        return cls(**clean)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
