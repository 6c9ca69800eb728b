"""The settings of a training run in groups: each is a table of a recipe file, such as `[model]`.

What each of them means stands under it. `train.recipe` reads them from a file and the command line.
"""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from captioner.errors import DataError

T = TypeVar("T", bound="Group")
RECIPES = Path(__file__).parent / "recipes"
WANTED: dict[type, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text",
}  # fmt: skip


def recipe_names() -> list[str]:
    """The names of the recipes in train/recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


@dataclass
class Group:
    """Settings that belong together."""

    TABLE: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raises DataError, a sentence, for a value that makes no sense."""

    @property
    def table(self) -> str:
        """What comes before a field's name: the field `views` of `data` is `data.views`."""
        return self.TABLE

    def require(self, name: str, good: bool, wanted: str) -> None:
        """Raises DataError unless the value of this field is good."""
        if not good:
            value = getattr(self, name)
            raise DataError(f"{self.table}.{name} must be {wanted}, not {value!r}.")

    def one_of(self, name: str, known: tuple[str, ...]) -> None:
        """Raises DataError unless the value of this field is one of the words that are known."""
        self.require(name, getattr(self, name) in known, " or ".join(known))

    @classmethod
    def filled(cls: type[T], values: dict[str, Any], table: str) -> T:
        """The group from values as they come from a TOML file or the command line. Raises
        DataError for an unknown field, and a value of the wrong type."""
        kinds: dict[str, Any] = {f.name: f.type for f in fields(cls)}
        clean: dict[str, Any] = {}
        for name, value in values.items():
            if name not in kinds:
                known = ", ".join(kinds)
                raise DataError(f"{table} has no field {name!r}; known: {known}.")
            try:
                clean[name] = _as(kinds[name], value)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                wanted = WANTED[kinds[name]]
                raise DataError(f"{table}.{name} must be {wanted}, not {value!r}.") from error
        return cls(**clean)


def _as(kind: type, value: Any) -> Any:
    """A value as the type of its field, or one of the errors that `filled` knows."""
    if kind is str:
        if not isinstance(value, str):
            raise TypeError
        return value
    if kind is bool:
        return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    if not math.isfinite(number) or (kind is int and number != int(value)):
        raise ValueError
    return kind(value)


@dataclass
class ModelSettings(Group):
    """The model, and which parts of it learn."""

    TABLE: ClassVar[str] = "model"

    encoder: str = "tf_efficientnet_lite2"
    """A backbone of the library, by its name or its folder."""
    encoder_library: str = "timm"
    """timm or transformers; a folder that transformers saved and a hub id are taken for its own."""
    encoder_weights: str = "imagenet"
    """Its first weights: "imagenet" takes them from a Python package (the encoder must be one of
    `train.imagenet.PACKAGES`), "pretrained" from the library's hub or the folder, "none" begins
    from nothing (for tests)."""
    detector: str = ""
    """An object detector beside the encoder, whose classes are further features of each patch:
    "ssd_mobilenet_v2", or "" for none."""
    encoder_blocks: int = -1
    """What of the encoder learns, once a stage says that it learns: -1 all of it behind the trunk,
    0 nothing, n its last n blocks."""
    trunk_stages: int = 5
    """Leading stages of the encoder that never learn, and are what is cached."""
    size: int = 260
    """Photographs are squeezed to size x size pixels; 0 for what the encoder was trained at."""
    vocab_size: int = 6000
    """Tokens of the tokenizer that is trained on the captions."""
    width: int = 384
    """Width of the decoder."""
    layers: int = 3
    """Layers of the decoder."""
    heads: int = 6
    """Attention heads of each of them."""
    positions: int = 64
    """The longest caption that the decoder has places for, in tokens."""
    map_layer: int = -1
    """The layer whose attention makes the heatmaps, and is drawn to the things that words name
    where a stage says so; -1 for all layers."""
    dropout: float = 0.15
    """Dropout in the decoder, in stages that train on captions that people wrote."""
    start: str = ""
    """The folder of a trained model to begin from, in place of all the above but `encoder_blocks`
    and `dropout`."""
    fresh_decoder: bool = False
    """Take only the encoder of that model; a decoder of the sizes above begins anew."""
    encoder_blend: float = 1.0
    """The encoder of that model is so much of its own weights, and for the rest those of ImageNet
    (WiSE-FT, Wortsman et al. 2022); its trunk stays as it is."""
    resize: int = 0
    """That model sees photographs squeezed to resize x resize pixels from now on; 0 for the size
    that it has seen so far."""
    saved_dtype: str = "float16"
    """How the weights of the trained model are stored: float32, float16 or bfloat16."""

    def check(self) -> None:
        self.one_of("encoder_weights", ("imagenet", "pretrained", "none"))
        self.require(
            "map_layer", -1 <= self.map_layer < self.layers, "the number of a layer, or -1"
        )
        self.one_of("saved_dtype", ("float32", "float16", "bfloat16"))
        self.require("encoder_blend", 0 <= self.encoder_blend <= 1, "0 to 1")


@dataclass
class DataSettings(Group):
    """What is seen of the photographs and their captions."""

    TABLE: ClassVar[str] = "data"

    features: str = "cached"
    """"cached" computes what the trunk gives for each view once, and keeps it in files; "live"
    loads and augments photographs in `workers` processes, a fresh view every epoch."""
    views: int = 6
    """How many are cached: 1 is the photo alone, 2 adds its mirror image, more add random crops and
    colours. With "live": 1 is the photo alone, more means augmentation."""
    workers: int = 2
    """Processes that load photographs, for each process that trains; 0 loads them in that one."""
    photos: int = 0
    """At most so many training photos; 0 for all."""
    references: int = 0
    """At most so many captions of each photo, in training and validation; 0 for all."""
    captions_per_photo: int = 5
    """So many of a photo's captions are learnt from at a time, chosen anew in every step."""
    lines_per_photo: int = 5
    """So many lines in a row of a `--text` file tell of one photograph."""
    max_tokens: int = 18
    """Longer captions are cut, without an end token (a batch is as long as its longest caption, so
    the few long ones cost most of the time); and the longest caption that a stage draws."""
    feature_crop: float = 1.0
    """Cached features are cropped at random in every step, to at least this share of their area,
    and brought back to size; 1 for never."""
    patch_dropout: float = 0.0
    """The share of a photo's patches that is hidden from the decoder: others for every photo and
    step."""

    def check(self) -> None:
        self.one_of("features", ("cached", "live"))
        for name in ("views", "captions_per_photo", "lines_per_photo", "max_tokens"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("workers", "photos", "references"):
            self.require(name, getattr(self, name) >= 0, "0 or more")
        self.require("patch_dropout", 0 <= self.patch_dropout < 1, "0 to below 1")
        self.require("feature_crop", 0 < self.feature_crop <= 1, "above 0 and at most 1")
        if self.feature_crop < 1 and self.features != "cached":
            raise DataError(
                'data.feature_crop crops cached features: set data.features = "cached".'
            )


@dataclass
class OptimizerSettings(Group):
    """A step. (Learning rates are those of the stages.)"""

    TABLE: ClassVar[str] = "optimizer"

    batch_photos: int = 64
    """Photos of a step, over all processes."""
    accumulate: int = 1
    """A process takes its part of the batch in so many parts, one after the other: less memory."""
    weight_decay: float = 0.05
    """Of AdamW; biases and norms do not decay."""
    label_smoothing: float = 0.1
    """Of cross-entropy: so much of the probability is spread over all tokens."""
    clip: float = 1.0
    """The greatest norm of a step's gradient."""
    ema: float = 0.995
    """Decay of the moving average of the weights, which is what is validated and saved."""

    def check(self) -> None:
        for name in ("batch_photos", "accumulate"):
            self.require(name, getattr(self, name) >= 1, "at least 1")


@dataclass
class SearchSettings(Group):
    """How captions are searched for, in validation and by the trained model."""

    TABLE: ClassVar[str] = "search"

    beams: int = 3
    """Captions that the search follows at a time."""
    length_penalty: float = 0.0
    """Captions are compared by their log-probability over length to this power: more for longer."""
    max_length: int = 30
    """Tokens of the longest caption."""


@dataclass
class ValidationSettings(Group):
    """What is found out of the model while it learns, and what follows from it."""

    TABLE: ClassVar[str] = "validation"

    photos: int = 400
    """At most so many photos of each validation set are captioned."""
    every: int = 1
    """Validate every so many epochs, and after the last."""
    patience: int = 0
    """A stage ends after so many validations without a better score; 0 for never."""
    previews: int = 4
    """Photos of each validation set of which `previews/` shows the caption and its heatmaps."""

    def check(self) -> None:
        self.require("photos", self.photos >= 2, "at least 2")
        self.require("every", self.every >= 1, "at least 1")
        for name in ("patience", "previews"):
            self.require(name, getattr(self, name) >= 0, "0 or more")


@dataclass
class RunSettings(Group):
    """How the run goes on this machine, and what it tells."""

    TABLE: ClassVar[str] = "run"

    seed: int = 1
    """Of everything that is random."""
    dtype: str = "auto"
    """Of autocast: float32, bfloat16, float16 (CUDA only), or "auto" for what the machine has."""
    checkpointing: bool = False
    """Forget activations and compute them again: less memory, a third more time."""
    compile: bool = False
    """Compile the step with torch.compile."""
    save_every: int = 100
    """Steps between saved states; one is saved at the end of every epoch too."""
    report_every: int = 20
    """Steps between lines of progress."""
    tensorboard: bool = False
    """Write logs for TensorBoard too."""

    def check(self) -> None:
        for name in ("save_every", "report_every"):
            self.require(name, getattr(self, name) >= 1, "at least 1")


@dataclass
class Tables:
    """All the groups: a recipe without its stages."""

    name: str = "recipe"
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    run: RunSettings = field(default_factory=RunSettings)
