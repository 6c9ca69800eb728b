"""A recipe: every setting of a training run, from a TOML file and the command line."""

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from captioner.errors import DataError

RECIPES = Path(__file__).parent / "recipes"


@dataclass
class Recipe:
    """The run has five stages: text (the decoder alone, as a language model), captions
    (cross-entropy), polish (the same again, as the learning rate falls a second time), scst
    (self-critical, on CIDEr-D), and distil (what several trained models say, learnt by one). A
    stage of 0 epochs or steps is skipped.

    The model:
    encoder, encoder_library: a backbone of timm or transformers, by name or folder.
    encoder_weights: "imagenet" takes them from a package of the index (the encoder must be one of
        `train.imagenet.PACKAGES`), "pretrained" from the library's hub or the folder, "none"
        begins from nothing (for tests).
    size: the photograph is squeezed to size x size pixels; 0 for what the encoder was trained at.
    vocab_size ... dropout: the decoder's.
    model: a folder of a trained model to begin from, in place of all the above but dropout.
    fresh_decoder: only that model's encoder is taken; a decoder of the sizes above begins anew.
    encoder_blend: that model's encoder is so much of its own weights, and for the rest those of
        ImageNet (WiSE-FT, Wortsman et al. 2022); the trunk stays as it is.
    resize: that model sees photographs squeezed to resize x resize pixels from now on; 0 for the
        size that it has seen so far.

    The data:
    features: "cached" computes the trunk of the encoder once for each view and keeps it in files;
        "live" loads and augments photographs in `workers` processes, a fresh view every epoch.
    trunk_stages: leading stages of the encoder that are never trained, and are what is cached.
    views: how many are cached: 1 is the photo alone, 2 adds its mirror image, more add random crops
        and colours. With "live": 1 is the photo alone, more means augmentation.
    photos: at most so many training photos; 0 for all. references: at most so many captions of
        each photo, in training and validation; 0 for all.

    The stages:
    text_steps, text_batch, text_lr: text, in batches of `text_batch` captions.
    epochs, batch_photos, captions_per_photo, lr, encoder_lr: captions. `batch_photos` is the batch
        of a step over all processes; `accumulate` takes it in so many parts, one after the other.
    encoder_blocks: -1 trains the whole encoder behind the trunk, 0 none of it, n its last n blocks,
        from epoch `unfreeze_epoch` on.
    polish_epochs, polish_lr: polish, the encoder learning from its beginning.
    scst_epochs, scst_lr, scst_samples: scst; scst_encoder_lr trains the encoder too, where not 0,
        and with a scst_lr of 0 the encoder alone.
    scst_temperature: the logits are divided by it as scst begins. Label smoothing leaves some
        probability on every token, so that most captions drawn at 1 have a word of nonsense.
    scst_baseline: "mean" of a photo's other samples, or the "greedy" caption.
    scst_bleu: weight of BLEU-4 in the reward. scst_xe: weight of cross-entropy beside the reward.
    teachers: "FOLDER=WEIGHT FOLDER=WEIGHT": the models that distil learns from, in distil_epochs at
        rates of distil_lr and distil_encoder_lr, on distil_samples captions that the model draws
        for each photo. distil_mix: the share of photos with a window of another photo pasted in
        (cached features only).
    warmup: steps of linear warm-up of text and captions; then the rate falls by a cosine to 5%.
    scst_slips: what a slip of language takes off the reward (`train.slips`).
    patch_dropout: the share of a photo's patches that is hidden from the decoder, in all stages but
        text: others for every photo and step.
    feature_crop: cached features are cropped at random in every step, to at least this share of
        their area, and brought back to size; 1 for never.
    max_tokens: longer captions are cut in cross-entropy, without an end token (a batch is as long
        as its longest caption, so the few long ones cost most of the time); the longest sample
        of scst.
    ema: decay of the moving average of the weights, which is what is validated and saved.
    patience: a stage ends after so many epochs without a better validation; 0 for never.

    The machine:
    dtype: of autocast; "auto", "bfloat16", "float16" (CUDA) or "float32".
    checkpointing: forget activations and compute them again: less memory, a third more time.
    compile: torch.compile the step.

    What is written:
    beams, length_penalty, max_length: of the search, in validation and in the saved model.
    val_photos: at most so many photos of each validation set are captioned during training.
    val_every: validate every so many epochs, and after the last.
    sample_photos: photos of each validation set that `samples/` shows. save_every, say_every: steps
        between saved states, and lines of progress. tensorboard: write its logs too. weights: the
        dtype of the saved model.
    """

    name: str = "recipe"
    encoder: str = "tf_efficientnet_lite2"
    encoder_library: str = "timm"
    encoder_weights: str = "imagenet"
    size: int = 260
    vocab_size: int = 6000
    width: int = 384
    layers: int = 3
    heads: int = 6
    positions: int = 64
    dropout: float = 0.15
    model: str = ""
    fresh_decoder: bool = False
    encoder_blend: float = 1.0
    resize: int = 0
    features: str = "cached"
    trunk_stages: int = 5
    views: int = 6
    workers: int = 2
    photos: int = 0
    references: int = 0
    text_steps: int = 0
    text_batch: int = 512
    text_lr: float = 1e-3
    epochs: int = 10
    batch_photos: int = 64
    accumulate: int = 1
    captions_per_photo: int = 5
    lr: float = 6e-4
    encoder_lr: float = 1e-4
    encoder_blocks: int = -1
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
    scst_encoder_lr: float = 0.0
    scst_samples: int = 5
    scst_temperature: float = 1.0
    scst_baseline: str = "mean"
    scst_bleu: float = 0.0
    scst_xe: float = 0.0
    scst_slips: float = 0.0
    teachers: str = ""
    distil_epochs: int = 0
    distil_lr: float = 2e-4
    distil_encoder_lr: float = 1e-4
    distil_samples: int = 3
    distil_mix: float = 0.5
    patch_dropout: float = 0.0
    feature_crop: float = 1.0
    max_tokens: int = 18
    patience: int = 0
    beams: int = 3
    length_penalty: float = 0.0
    max_length: int = 30
    val_photos: int = 400
    val_every: int = 1
    sample_photos: int = 4
    save_every: int = 100
    say_every: int = 20
    tensorboard: bool = False
    seed: int = 1
    dtype: str = "auto"
    checkpointing: bool = False
    compile: bool = False
    weights: str = "float16"

    def __post_init__(self) -> None:
        choices = {
            "encoder_weights": ("imagenet", "pretrained", "none"),
            "features": ("cached", "live"),
            "scst_baseline": ("mean", "greedy"),
            "weights": ("float32", "float16", "bfloat16"),
        }
        for key, known in choices.items():
            if getattr(self, key) not in known:
                raise DataError(f"{key} must be {' or '.join(known)}, not {getattr(self, key)!r}.")
        for key in ("batch_photos", "accumulate", "captions_per_photo", "views", "val_every",
                    "save_every", "say_every", "max_tokens", "text_batch"):  # fmt: skip
            if getattr(self, key) < 1:
                raise DataError(f"{key} must be at least 1, not {getattr(self, key)}.")
        if not self.scst_temperature > 0:
            raise DataError(f"scst_temperature must be above 0, not {self.scst_temperature}.")
        if not 0 <= self.encoder_blend <= 1:
            raise DataError(f"encoder_blend must be 0 to 1, not {self.encoder_blend}.")
        if not 0 <= self.patch_dropout < 1:
            raise DataError(f"patch_dropout must be 0 to below 1, not {self.patch_dropout}.")
        if not 0 <= self.distil_mix <= 1:
            raise DataError(f"distil_mix must be 0 to 1, not {self.distil_mix}.")
        if self.distil_epochs and not self.teachers:
            raise DataError("distil_epochs needs teachers: --set teachers=FOLDER=WEIGHT.")
        if not 0 < self.feature_crop <= 1:
            raise DataError(f"feature_crop must be above 0 and at most 1, not {self.feature_crop}.")
        if self.feature_crop < 1 and self.features != "cached":
            raise DataError('feature_crop crops cached features: set features = "cached".')
        if self.scst_samples < 2 and self.scst_baseline == "mean":
            raise DataError('scst_samples must be at least 2 with scst_baseline "mean".')

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
        clean: dict[str, Any] = {}
        for key, value in values.items():
            if key not in kinds:
                raise DataError(f"The recipe has no field {key!r}; known: {', '.join(kinds)}.")
            kind: Any = kinds[key]
            try:
                clean[key] = _truth(value) if kind is bool else kind(value)
                if kind is int and float(value) != clean[key]:
                    raise ValueError
            except (TypeError, ValueError) as error:
                raise DataError(f"{key} must be {kind.__name__}, not {value!r}.") from error
        return cls(**clean)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _truth(value: Any) -> bool:
    known = {"true": True, "false": False, "1": True, "0": False}
    if str(value).lower() not in known:
        raise ValueError
    return known[str(value).lower()]
