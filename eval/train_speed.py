"""How quick training is: our loop beside a plain transformers loop, and how well it is fed.

    python -m eval train_speed
    python -m eval train_speed --images train2017 --annotations captions_train2017.json

Three parts, on one machine in one run:

1. Captions a second of a training step (forward, backward, AdamW), of the same ViT encoder and of
   decoders of the same width, layers, heads and vocabulary: transformers' VisionEncoderDecoderModel
   (GPT-2 with cross-attention) in the plain loop that its documentation shows, a photo with one
   caption a row; ours with photographs (a photo's five captions share its encoding); ours with the
   encoder frozen and its features cached, beside the plain loop with its encoder frozen. Same
   photos, same captions, same token counts, float32 and eager attention in none. The contestants
   take turns, round after round; medians count.
2. What the loader delivers: 640x480 JPEGs, loaded and augmented in workers, photos a second a core.
3. Waiting: the loop with a step that does nothing but last as long as a GPU would take
   (`--gpu-photos` a second), and the share of the time it waits for photographs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from captioner.annotations import AnnotatedImage
from captioner.errors import CaptionerError
from captioner.exits import run
from captioner.machine import cores, describe
from captioner.photos import load_photo
from captioner.samples import sample_photos
from captioner.tokenizer import PAD, CaptionTokenizer
from train.augment import Views
from train.data import load_examples
from train.feed import LiveFeed, Part
from train.learner import IGNORE, Learner, pad_rows
from train.settings import ModelSettings, SearchSettings

from .common import add_json, add_photos, parser, print_json

SENTENCES = (
    "A small {} is standing on the grass near a wooden fence.",
    "The {} that we see in this picture looks to the side.",
    "A photo of a {} with a dark background behind it.",
    "Somebody has put a {} in the middle of the room.",
    "There is a {} and nothing else.",
)


def main(arguments: list[str] | None = None) -> int:
    made = parser("train_speed", __doc__)
    add_photos(made)
    made.add_argument("--annotations", type=Path, help="COCO captions of these photos")
    made.add_argument("--batch-photos", type=int, default=8)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--width", type=int, default=384, help="of encoder and decoder")
    made.add_argument("--layers", type=int, default=6, help="of the encoder; the decoder has 3")
    made.add_argument("--workers", type=int, default=cores())
    made.add_argument(
        "--gpu-photos", type=float, help="photos a second of the stand-in; default: 60 a worker"
    )
    add_json(made)
    options = made.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return run(lambda: _train_speed(options))


def _train_speed(options: argparse.Namespace) -> None:
    examples = _examples(options)
    figures = {
        "machine": describe(),
        "steps": steps(examples, options),
        "feeding": feeding(examples, options),
    }
    if options.json:
        print_json(figures)
    else:
        _print(figures)


def _print(figures: dict[str, Any]) -> None:
    found = figures["steps"]
    print(f"{'captions a second, training':<46}{'median':>8}{'ratio':>8}")
    for name, (rate, ratio) in found.items():
        print(f"{name:<46}{rate:>8.1f}{ratio:>7.2f}x")
    feed = figures["feeding"]
    print(
        f"\nloader: {feed['photos_per_second']:.0f} photos a second with {feed['workers']} workers,"
    )
    print(f"        {feed['per_core']:.0f} a core (640x480 JPEG, cropped, mirrored, coloured)")
    print(
        f"waiting for photos: {feed['waiting']:.1%} beside a stand-in of "
        f"{feed['gpu_photos']:.0f} photos a second"
    )


# -- 1. steps ------------------------------------------------------------------------------------


def steps(examples: Sequence[AnnotatedImage], options: argparse.Namespace) -> dict[str, Any]:
    """Name -> (captions a second, ratio to the plain loop it stands beside)."""
    tokenizer = CaptionTokenizer.train([c for e in examples for c in e.captions] * 2, 1000)
    batch = [examples[i % len(examples)] for i in range(options.batch_photos)]
    views = Views(batch, 224)
    pixels = torch.stack([views[i, 0] for i in range(len(batch))])  # uint8 (B, 224, 224, 3)
    rows = [tokenizer.encode(c) for e in batch for c in e.captions[:5]]
    inputs, targets = pad_rows(rows, 24)
    with tempfile.TemporaryDirectory() as folder:
        vit = _vit(Path(folder), options)
        peer, peer_frozen = _Peer(vit, tokenizer, options), _Peer(vit, tokenizer, options, True)
        ours, ours_frozen = _ours(vit, tokenizer, options), _ours(vit, tokenizer, options, True)
    ours.encoder_learns = True
    with torch.no_grad():
        cached = ours_frozen.features(pixels).transpose(1, 2).unflatten(2, ours_frozen.model.grid)
    ours_frozen.encoder_done = True
    photo = torch.arange(len(batch)).repeat_interleave(len(rows) // len(batch))
    contestants: dict[str, Callable[[], None]] = {
        "transformers' VisionEncoderDecoderModel": _stepper(
            peer, lambda: peer(pixels[photo], inputs, targets)
        ),
        "ours, with photographs": _stepper(ours, lambda: ours(pixels, inputs, targets)),
        "transformers', encoder frozen": _stepper(
            peer_frozen, lambda: peer_frozen(pixels[photo], inputs, targets)
        ),
        "ours, encoder frozen, cached features": _stepper(
            ours_frozen, lambda: ours_frozen(cached, inputs, targets)
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(options.rounds + 1):
        for name, step in contestants.items():
            began = time.perf_counter()
            step()
            if turn:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    rates = {name: len(rows) / statistics.median(s) for name, s in seconds.items()}
    names = list(rates)
    return {
        name: (rate, rate / rates[names[i - i % 2]]) for i, (name, rate) in enumerate(rates.items())
    }


def _vit(folder: Path, options: argparse.Namespace) -> Path:
    """A ViT with random weights as a local folder: what training costs does not depend on them."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    config = ViTConfig(
        hidden_size=options.width, num_hidden_layers=options.layers, num_attention_heads=6,
        intermediate_size=4 * options.width, image_size=224, patch_size=16,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder)
    return folder


class _Peer(torch.nn.Module):
    """VisionEncoderDecoderModel with a GPT-2 decoder of our sizes."""

    def __init__(
        self, vit: Path, tokenizer: CaptionTokenizer, options: argparse.Namespace,
        frozen: bool = False,
    ):  # fmt: skip
        super().__init__()
        from transformers import (
            GPT2Config,
            GPT2LMHeadModel,
            VisionEncoderDecoderModel,
            ViTModel,
        )

        config = GPT2Config(
            vocab_size=len(tokenizer), n_embd=options.width, n_layer=3, n_head=6, n_positions=64,
            add_cross_attention=True, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.0,
        )  # fmt: skip
        self.model = VisionEncoderDecoderModel(
            encoder=ViTModel.from_pretrained(vit, add_pooling_layer=False),
            decoder=GPT2LMHeadModel(config),
        )
        self.model.config.decoder_start_token_id = 1
        self.model.config.pad_token_id = PAD
        self.frozen = frozen
        self.model.encoder.requires_grad_(not frozen)

    def forward(self, pixels: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        out = self.model(
            pixel_values=x, decoder_input_ids=inputs, decoder_attention_mask=inputs != PAD,
            use_cache=False,
        )  # fmt: skip
        return torch.nn.functional.cross_entropy(
            out.logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, label_smoothing=0.1
        )


def _ours(
    vit: Path, tokenizer: CaptionTokenizer, options: argparse.Namespace, frozen: bool = False
) -> Learner:
    from train.build import build_model

    settings = ModelSettings(
        encoder=str(vit), encoder_library="transformers", encoder_weights="pretrained",
        trunk_stages=0, size=224, width=options.width, layers=3, heads=6,
        vocab_size=len(tokenizer), dropout=0.1,
    )  # fmt: skip
    model = build_model(settings, SearchSettings(), tokenizer)
    model.encoder.requires_grad_(not frozen)
    return Learner(model, label_smoothing=0.1, dtype=torch.float32)


def _stepper(module: torch.nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """One whole training step, as a call."""
    module.train()
    learning = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-5, fused=True)

    def step() -> None:
        loss().backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


# -- 2 and 3. feeding ----------------------------------------------------------------------------


def feeding(examples: Sequence[AnnotatedImage], options: argparse.Namespace) -> dict[str, float]:
    workers = max(1, options.workers)
    gpu = options.gpu_photos or 60.0 * workers
    batch, batches = 32, 24
    with tempfile.TemporaryDirectory() as folder:
        photos = _jpegs(examples, Path(folder), 64)
        feed = LiveFeed(photos, 224, augment=True, workers=workers)
        began = time.perf_counter()
        for count, _ in enumerate(feed.batches(_plan(len(photos), batch, batches))):
            if count == 3:  # workers have started, and filled their queues
                began = time.perf_counter()
        rate = (batches - 4) * batch / (time.perf_counter() - began)
        waited, began = 0.0, time.perf_counter()
        found = feed.batches(_plan(len(photos), batch, batches))
        for count in range(batches):
            asked = time.perf_counter()
            next(found)
            waited += time.perf_counter() - asked
            if count == 0:  # the workers' start is paid once a run
                waited, began = 0.0, time.perf_counter()
            time.sleep(batch / gpu)
        waiting = waited / (time.perf_counter() - began)
    used = min(workers, cores())
    return {
        "photos_per_second": rate, "per_core": rate / used, "workers": workers,
        "gpu_photos": gpu, "waiting": waiting,
    }  # fmt: skip


def _plan(photos: int, batch: int, batches: int) -> Iterator[Part]:
    rng = np.random.default_rng(0)
    for i in range(batches):
        yield rng.integers(photos, size=batch), np.full(batch, 2 + i)


def _jpegs(examples: Sequence[AnnotatedImage], folder: Path, count: int) -> list[AnnotatedImage]:
    """The photographs at hand as 640x480 JPEGs."""
    made = []
    for i in range(count):
        photo = load_photo(examples[i % len(examples)].photo).image.resize((640, 480))
        path = folder / f"{i}.jpg"
        photo.save(path, quality=90)
        made.append(AnnotatedImage(i, path.name, ("a photo",), place=path))
    return made


def _examples(options: argparse.Namespace) -> list[AnnotatedImage]:
    if options.images:
        if not options.annotations:
            raise CaptionerError("--images needs --annotations, a COCO captions file.")
        return load_examples(options.images, options.annotations)
    return [
        AnnotatedImage(i, file.name, tuple(s.format(file.stem) for s in SENTENCES), place=file)
        for i, file in enumerate(sample_photos())
    ]
