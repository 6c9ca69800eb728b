"""What a run works with, made from a recipe: model and tokenizer, photographs, batches."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from captioner.annotations import AnnotatedImage
from captioner.decoder import KeyValue
from captioner.encoders.beside import BesideEncoder
from captioner.errors import DataError
from captioner.generation import Search
from captioner.machine import choose_device

from .batches import Batches, Piece
from .build import all_lines, build_model, captions_of, read_lines, tokenizer_of
from .features import FeatureCache
from .feed import CachedFeed, Feed, LiveFeed
from .imagined import Imagination, grouped
from .learner import Learner, train_dtype
from .optim import choose_weights
from .processes import Processes
from .settings import Tables
from .validation import Validator


class Setup:
    """What a run works with. Making it computes the features that are cached.

    examples: the training photos. text: files of captions without photographs. learner: what
    computes the losses of `model`. batches: of the training photos. validators: by name.
    """

    def __init__(
        self,
        recipe: Tables,
        folder: Path,
        train: Sequence[AnnotatedImage],
        validation: Mapping[str, Sequence[AnnotatedImage]],
        text: Sequence[Path] = (),
        cache: Path | None = None,
        *,
        processes: Processes | None = None,
        device: torch.device | None = None,
    ):
        """
        Args:
            folder: that of the run.
            cache: where cached features are kept; None for the run's folder.

        Raises DataError, ModelError where recipe and data do not go together.
        """
        self.recipe = recipe
        self.folder = folder
        self.text = text
        self.processes = processes or Processes()
        self.device = device or choose_device("cpu")
        self.dtype = train_dtype(recipe.run.dtype, self.device)
        self.examples = captions_of(train[: recipe.data.photos or None], recipe.data.references)
        _refuse_single(validation)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.run.seed)
        self.tokenizer = self.processes.in_turn(
            lambda: tokenizer_of(recipe.model, folder, self.examples, text)
        )
        self.model = build_model(recipe.model, recipe.search, self.tokenizer)
        choose_weights(self.model, recipe.model.encoder_blocks)
        self.model.to(self.device).to(memory_format=torch.channels_last)
        self.encoder_done = self._is_encoder_done()
        cache = cache or folder / "cache"
        self.feed = self._feed(cache, self.examples, recipe.data.views)
        self.batches = Batches(
            recipe, self.examples, self.feed, self.tokenizer, self.model.grid, self.processes,
            self.device,
        )  # fmt: skip
        self.validators = {
            name: Validator(
                captions_of(every[: recipe.validation.photos], recipe.data.references),
                self._feed(cache, every, 1),
                self.processes,
            )
            for name, every in validation.items()
        }
        self.learner = Learner(
            self.model, label_smoothing=recipe.optimizer.label_smoothing, dtype=self.dtype,
            encoder_done=self.encoder_done,
        )  # fmt: skip
        if recipe.run.checkpointing:
            self.learner.checkpoint_activations()
        # Dropout of the processes must differ; with one process nothing changes.
        if self.processes.world > 1:
            torch.manual_seed(recipe.run.seed + 1000 * self.processes.rank)

    @functools.cached_property
    def imagination(self) -> Imagination | None:
        """The photographs of the captions that have none; None where there are no such captions, no
        detector, or no features of it that are cached."""
        encoder = self.model.encoder
        if not self.text or not isinstance(encoder, BesideEncoder):
            return None
        if not isinstance(self.feed, CachedFeed):
            return None
        each = self.recipe.data.lines_per_photo
        groups = [g for path in self.text for g in grouped(read_lines(path), each)]
        parts = np.array_split(np.arange(len(self.examples)), 1 + len(self.examples) // 256)
        found = [self.feed.cache.read(0, part)[:, -encoder.things :] for part in parts]
        shrunk = torch.cat([encoder.shrunk(part.float()).half() for part in found])
        return Imagination(groups, self.examples, shrunk)

    def lines(self) -> list[str]:
        """All captions there are, with photos and without."""
        return all_lines(self.examples, self.text)

    @contextlib.contextmanager
    def drawing(self, piece: Piece) -> Iterator[list[KeyValue]]:
        """What the decoder attends to, to draw captions from."""
        assert piece.seen is not None
        with torch.no_grad(), self.learner.autocast():
            yield self.learner.memory(self.learner.features(piece.seen), piece.patches)

    def draws(
        self, memory: list[KeyValue], photos: np.ndarray, seed: tuple[int, ...], *, samples: int
    ) -> list[list[int]]:
        """Captions that the model draws for the photos (B,) whose memory this is: B * samples rows
        of tokens, photo by photo."""
        longest = self.recipe.data.max_tokens
        search = Search(sample=True, returned=samples, max_length=longest)
        # A seed for each photo: draws that were alike across the batch would add up their noise.
        seeds = [int(np.random.default_rng((*seed, int(p))).integers(2**62)) for p in photos]
        found = self.model.write(memory, search, seeds=seeds)
        return [list(h.ids) for hypotheses in found for h in hypotheses]

    def _is_encoder_done(self) -> bool:
        """Whether what is cached is all that the encoder computes, because none of it learns."""
        cached = self.recipe.data.features == "cached"
        done = cached and not self.model.encoder.trunk_parameters()
        if done and self.recipe.model.encoder_blocks:
            raise DataError(
                'features = "cached" keeps what is not trained: set model.trunk_stages, or '
                'model.encoder_blocks = 0; or take data.features = "live".'
            )
        return done

    def _feed(self, cache: Path, examples: Sequence[AnnotatedImage], views: int) -> Feed:
        """Photographs in so many views, or in fresh ones each epoch."""
        if self.recipe.data.features == "cached":
            features = FeatureCache(cache, examples, views, whole=self.encoder_done)
            self.processes.in_turn(lambda: features.fill(self.model.encoder, dtype=self.dtype))
            return CachedFeed(features)
        return LiveFeed(
            examples, self.model.config.encoder.size, workers=self.recipe.data.workers,
            augment=views > 1, pin=self.device.type == "cuda",
        )  # fmt: skip


def _refuse_single(validation: Mapping[str, Sequence[AnnotatedImage]]) -> None:
    for name, examples in validation.items():
        if len(examples) < 2:
            raise DataError(
                f"The validation set {name!r} has one photo: CIDEr-D compares photographs, and "
                "needs two or more. Add some, or leave out --val."
            )
