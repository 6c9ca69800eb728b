"""The cached-feature mode: run what is frozen of the encoder once over every view of every photo.

That is its trunk, or all of it. One file a view, float16 (P, h, w, C), filled in order and resumed
where it stopped. A cache belongs to its frozen weights, the bytes of its photographs, and the
settings of their views: it is named by a fingerprint of them, so that a changed one never meets an
old cache.
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from captioner.annotations import AnnotatedImage
from captioner.encoders import PatchEncoder
from captioner.errors import DataError
from captioner.model import together

from .augment import Views, flipped


class FeatureCache:
    """What the trunk (or, if `whole`, the encoder) gave for `examples`: `read(view, indices)` ->
    (n, C, h, w) float16."""

    def __init__(
        self,
        folder: Path,
        examples: Sequence[AnnotatedImage],
        views: int,
        *,
        whole: bool = False,
    ):
        self.folder = folder
        self.whole = whole
        self.examples = examples
        self.views = views
        self.maps: list[np.ndarray] = []

    def fill(
        self, encoder: PatchEncoder, *, dtype: torch.dtype, batch_size: int = 32
    ) -> "FeatureCache":
        """Compute what is missing, with progress; then open the files for reading."""
        views = Views(self.examples, encoder.config.size)
        self.folder = self.folder / self._fingerprint(encoder, views, dtype)
        self.folder.mkdir(parents=True, exist_ok=True)
        for view in range(self.views):
            self.maps.append(self._fill_view(encoder, views, view, dtype, batch_size))
        return self

    def read(self, view: int, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """float16 (n, C, h, w), channels last in memory."""
        return torch.from_numpy(self.maps[view][np.asarray(indices)]).permute(0, 3, 1, 2)

    def flipped(self, view: int, index: int) -> bool:
        return flipped(view, index)

    def _fingerprint(self, encoder: PatchEncoder, views: Views, dtype: torch.dtype) -> str:
        digest = hashlib.sha256()
        settings = [encoder.config.to_dict(), self.whole, views.settings(), str(dtype)]
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
        frozen = list(encoder.parameters()) if self.whole else encoder.trunk_parameters()
        for parameter in frozen:
            # An average of weights has 0 where they had -0: the same function, and the same name.
            digest.update((parameter.detach().cpu().contiguous() + 0.0).numpy().tobytes())
        with ThreadPoolExecutor() as pool:
            for photo in tqdm(
                pool.map(_hash_of, self.examples), "which photographs", len(self.examples),
                unit="photo", delay=5,
            ):  # fmt: skip
                digest.update(photo)
        return digest.hexdigest()[:16]

    def _run(self, encoder: PatchEncoder, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 pixels (n, S, S, 3) -> (n, C, h, w)."""
        device = next(encoder.parameters()).device
        found = []
        for some in together(pixels.to(device)):
            x = encoder.trunk(encoder.normalise(some))
            if self.whole:
                features, grid = encoder.features(x)
                x = features.transpose(1, 2).unflatten(2, grid)
            found.append(x)
        return torch.cat(found)

    @torch.inference_mode()
    def _fill_view(
        self, encoder: PatchEncoder, views: Views, view: int, dtype: torch.dtype, batch_size: int
    ) -> np.ndarray:
        count = len(self.examples)
        size = encoder.config.size
        blank = torch.zeros(1, size, size, 3, dtype=torch.uint8)
        _, channels, height, width = self._run(encoder, blank).shape
        device = next(encoder.parameters()).device.type
        path = self.folder / f"view-{view}.npy"
        mark = self.folder / f"view-{view}.done"
        shape = (count, height, width, channels)
        if not path.exists():
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape).flush()
            mark.write_text("0")
        data = np.lib.format.open_memmap(path, mode="r+")
        done = int(mark.read_text() or 0) if mark.exists() else 0
        if done < count:
            loader = torch.utils.data.DataLoader(
                views,
                sampler=[(index, view) for index in range(done, count)],
                batch_size=batch_size,
            )
            bar = tqdm(total=count, initial=done, desc=f"features, view {view}", unit="photo")
            for pixels in loader:
                with torch.autocast(device, dtype, enabled=dtype != torch.float32):
                    out = self._run(encoder, pixels).permute(0, 2, 3, 1)
                data[done : done + len(out)] = out.to(torch.float16).cpu().numpy()
                done += len(out)
                bar.update(len(out))
                if done % (batch_size * 16) < batch_size or done == count:
                    data.flush()
                    mark.write_text(str(done))
            bar.close()
        return np.load(path, mmap_mode="r")


def _hash_of(example: AnnotatedImage) -> bytes:
    """The hash of a photograph's bytes: names would not do, every set of shards has the same."""
    try:
        photo = example.photo
        content = photo if isinstance(photo, bytes) else photo.read_bytes()
    except OSError as error:
        raise DataError(f"The photograph {example.file} cannot be read: {error}.") from error
    return hashlib.sha256(content).digest()
