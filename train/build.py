"""The model and tokenizer that a recipe describes, before training."""

import gzip
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from captioner.annotations import AnnotatedImage
from captioner.attention import Combine
from captioner.decoder import DecoderConfig
from captioner.encoders import EncoderConfig, config_for, fold_batch_norm, has_weights, library_of
from captioner.encoders.beside import BesideEncoder
from captioner.errors import DataError
from captioner.generation import Search
from captioner.model import CaptionModel, ModelConfig
from captioner.tokenizer import CaptionTokenizer

from .detector import coco_detector
from .imagenet import imagenet_backbone
from .settings import ModelSettings, SearchSettings


def build_model(
    recipe: ModelSettings, search: SearchSettings, tokenizer: CaptionTokenizer
) -> CaptionModel:
    """A model with the encoder's first weights, or a trained one to go on with (`start`)."""
    searched = Search(**asdict(search))
    if recipe.start:
        model = _started(recipe, tokenizer)
        model.config = replace(model.config, search=searched, weights=recipe.saved_dtype)
        for module in model.decoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = recipe.dropout
        return model
    config = ModelConfig(
        encoder=_encoder_config(recipe),
        decoder=_decoder_config(recipe, tokenizer),
        search=searched,
        combine=Combine((recipe.map_layer,) if recipe.map_layer >= 0 else ()),
        weights=recipe.saved_dtype,
    )
    model = CaptionModel(config, tokenizer)
    if recipe.encoder_weights == "imagenet":
        backbone = imagenet_backbone(recipe.encoder)
        fold_batch_norm(backbone)
        weights = {
            k: v for k, v in backbone.state_dict().items() if not k.startswith("classifier.")
        }
        model.encoder.backbone.load_state_dict(weights)
        if isinstance(model.encoder, BesideEncoder):
            model.encoder.detector.load_state_dict(coco_detector().state_dict())
    return model


def _started(recipe: ModelSettings, tokenizer: CaptionTokenizer) -> CaptionModel:
    """The trained model that the run begins from, or its encoder with a fresh decoder."""
    model = CaptionModel.load(recipe.start)
    if recipe.encoder_blend < 1:
        blend(model, imagenet_backbone(model.config.encoder.name), recipe.encoder_blend)
    if recipe.resize:
        model = resized(model, recipe.resize)
    if recipe.fresh_decoder:
        config = replace(model.config, decoder=_decoder_config(recipe, tokenizer))
        encoder = model.encoder.state_dict()
        model = CaptionModel(config, tokenizer)
        model.encoder.load_state_dict(encoder)
    return model


@torch.no_grad()
def resized(model: CaptionModel, size: int) -> CaptionModel:
    """The model for photographs of size x size pixels: the same weights, and the places of the
    patches interpolated to the new grid."""
    encoder = replace(model.config.encoder, size=size)
    made = CaptionModel(replace(model.config, encoder=encoder), model.tokenizer)
    state = model.state_dict()
    for name, length in zip(("row", "col"), made.grid, strict=True):
        places = state[f"projection.{name}"]
        state[f"projection.{name}"] = nn.functional.interpolate(
            places.T.unsqueeze(0), size=length, mode="linear"
        )[0].T
    try:
        made.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"The encoder {encoder.name} cannot go on at another size: its weights depend on it. "
            "Leave model.resize at 0."
        ) from error
    return made.eval().to(memory_format=torch.channels_last)


@torch.no_grad()
def blend(model: CaptionModel, backbone: nn.Module, share: float) -> None:
    """Make the encoder behind its trunk `share` of its own weights and for the rest those of
    `backbone`, the same architecture as it came from ImageNet."""
    if model.config.encoder.fold_batch_norm:
        fold_batch_norm(backbone)
    first = backbone.state_dict()
    trunk = {id(p) for p in model.encoder.trunk_parameters()}
    for name, own in model.encoder.backbone.named_parameters():
        if id(own) not in trunk:
            own.lerp_(first[name], 1 - share)


@torch.no_grad()
def temper(model: CaptionModel, temperature: float) -> None:
    """Divide the model's logits by a temperature (Guo et al. 2017). They are linear in what the
    last norm gives, so its weights can hold the division."""
    for values in model.decoder.norm.parameters():
        values.div_(temperature)


def _decoder_config(r: ModelSettings, tokenizer: CaptionTokenizer) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=len(tokenizer), width=r.width, layers=r.layers, heads=r.heads,
        positions=r.positions, dropout=r.dropout,
    )  # fmt: skip


def _encoder_config(r: ModelSettings) -> EncoderConfig:
    # What timm cannot have is of transformers, whether that was said or not.
    library = r.encoder_library if r.encoder_library != "timm" else library_of(r.encoder)
    if r.encoder_weights == "pretrained":
        if not has_weights(library, r.encoder):
            raise DataError(
                f"{r.encoder!r} of {library} has no pretrained weights that can be read: "
                "docs/encoders.md has the names that have. model.encoder_weights=none begins from "
                "random ones."
            )
        return config_for(library, r.encoder, r.size or None, frozen_stages=r.trunk_stages)
    config = EncoderConfig(
        library=library, name=r.encoder, frozen_stages=r.trunk_stages, detector=r.detector
    )
    return replace(config, size=r.size) if r.size else config


def tokenizer_of(
    recipe: ModelSettings, folder: Path, examples: Sequence[AnnotatedImage], text: Sequence[Path]
) -> CaptionTokenizer:
    """The run's tokenizer: `tokenizer.json` of its folder, which is made at first."""
    path = folder / "tokenizer.json"
    if not path.exists():
        if recipe.start:
            made = CaptionTokenizer.load(Path(recipe.start) / "tokenizer.json")
        else:
            made = CaptionTokenizer.train(all_lines(examples, text), recipe.vocab_size)
        path.write_text(made.to_json(), encoding="utf-8")
    return CaptionTokenizer.load(path)


def all_lines(examples: Sequence[AnnotatedImage], text: Sequence[Path]) -> list[str]:
    """All captions there are, with photos and without."""
    return [c for e in examples for c in e.captions] + [c for p in text for c in read_lines(p)]


def read_lines(path: Path) -> list[str]:
    """The captions of a text file, one a line; `.gz` is unpacked."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as file
        ):
            return [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The text {path} cannot be read: {error}.") from error


def captions_of(examples: Sequence[AnnotatedImage], references: int) -> list[AnnotatedImage]:
    """The examples with at most the first `references` captions of each; 0 for all."""
    if not references:
        return list(examples)
    return [replace(e, captions=e.captions[:references]) for e in examples]
