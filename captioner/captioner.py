"""Captioner: what people hold. Photographs in, captions with their words and heatmaps out.

import captioner
model = captioner.load()                      # the model in the box
caption = model.caption("photo.jpg")
print(caption.text, caption.confidence)
for word in caption.words:
    print(word.text, word.probability, word.heatmap.shape)
caption.overlay(1).save("second-word.png")
caption.contact_sheet().save("all-words.png")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import numpy as np
import torch
from torch import Tensor, nn

from .banned_words import BannedWords
from .caption import Caption, blank
from .ensemble import load_model
from .errors import CaptionerError, ModelError, PhotoError, SettingError
from .finish import finish
from .generation import Hypothesis, Search
from .heatmaps import heatmaps, kind_of, no_maps
from .hub.locate import is_hub
from .interface import Model
from .machine import choose_device, choose_dtype
from .model import OwnModel
from .photos import Limits, Photo, PhotoSource, load_photo
from .request import EVIDENCE, Keywords, Request

BUILTIN = Path(__file__).parent / "builtin"
# Overlays are drawn on the photo at this many pixels of its shorter side, where it has them.
DRAWN_SIDE = 512
RUNTIMES = ("torch", "openvino")
ONLY_OURS = "`runtime` is for the encoder of a model of ours, on the CPU: leave it out."
OnError = Literal["raise", "return"]
Photos = list[PhotoSource] | tuple[PhotoSource, ...]


class Captioner:
    """A model ready to caption, on a device, in a dtype. Made by `captioner.load`."""

    def __init__(self, model: Model[Any], *, device: torch.device, dtype: torch.dtype):
        if isinstance(model, nn.Module):
            model.eval().to(device=device, dtype=dtype)
        self.model = model
        self.fits = 1 << 30
        """The most photos that go into its memory at a time, as far as a job has found out."""
        self.device = device
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"<Captioner {self.name} on {self.device}, {str(self.dtype).removeprefix('torch.')}>"

    @property
    def name(self) -> str:
        """The model's name and version, as it is written beside every caption."""
        about = self.model.about
        return " ".join(str(about[k]) for k in ("name", "version") if about.get(k)) or "unnamed"

    @property
    def size(self) -> int:
        """Pixels of the square that the model sees, or of a photo's shorter side that it uses."""
        return self.model.side

    @overload
    def caption(
        self,
        photo: Photos,
        request: Request | None = None,
        *,
        limits: Limits | None = None,
        batch_size: int = 32,
        on_error: Literal["raise"] = "raise",
        **settings: Unpack[Keywords],
    ) -> list[Caption]: ...
    @overload
    def caption(
        self, photo: Photos, request: Request | None = None, *, limits: Limits | None = None,
        batch_size: int = 32, on_error: OnError, **settings: Unpack[Keywords],
    ) -> list[Caption | PhotoError]: ...  # fmt: skip
    @overload
    def caption(
        self, photo: PhotoSource, request: Request | None = None, *, limits: Limits | None = None,
        batch_size: int = 32, **settings: Unpack[Keywords],
    ) -> Caption: ...  # fmt: skip

    def caption(
        self,
        photo: PhotoSource | Photos,
        request: Request | None = None,
        *,
        limits: Limits | None = None,
        batch_size: int = 32,
        on_error: OnError = "raise",
        beams: int | None = None,
        alternatives: int | None = None,
        length_penalty: float | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        no_repeat: int | None = None,
        prefix: str | None = None,
        without: str | Iterable[str] | None = None,
        sample: bool | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        prompt: str | None = None,
        style: str | None = None,
        explain: str | None = None,
        heatmaps: str | bool | None = None,
        **unknown: object,
    ) -> Caption | PhotoError | Sequence[Caption | PhotoError]:
        """Caption one photo, or a list of photos.

        Args:
            photo: whatever `photos.load_photo` takes, or a list or tuple of such.
            request: how to caption; each keyword that is a field of `Request` changes one setting
                of it, None leaving it as it is.
            limits: of the photo's size, against decompression bombs.
            batch_size: photos that go through the network together.
            on_error: of a list: "return" gives the PhotoError of a bad photo in its place.

        Raises:
            PhotoError: a photo cannot be used. CaptionerError: a setting makes no sense.
        """
        request = (request or Request()).with_(
            beams=beams, alternatives=alternatives, length_penalty=length_penalty,
            min_length=min_length, max_length=max_length, no_repeat=no_repeat, prefix=prefix,
            without=without, sample=sample, temperature=temperature, top_k=top_k, top_p=top_p,
            seed=seed, prompt=prompt, style=style, explain=explain, heatmaps=heatmaps,
            **unknown,
        )  # fmt: skip
        request = request.seeded()
        many = isinstance(photo, (list, tuple))
        sources: Photos = photo if isinstance(photo, (list, tuple)) else [photo]
        self.search(request)  # a setting that makes no sense is told before any photo is read
        side = max(self.size, DRAWN_SIDE) if request.heatmaps else self.size
        captions: list[Caption | PhotoError] = []
        for start in range(0, len(sources), batch_size):
            part = sources[start : start + batch_size]
            found = [_loaded(s, side, limits or Limits(), many, on_error) for s in part]
            photos = [one for one in found if isinstance(one, Photo)]
            written = iter(self.caption_photos(photos, request))
            captions += [next(written) if isinstance(one, Photo) else one for one in found]
        return captions if many else captions[0]

    @overload
    def stream(
        self, photos: Iterable[PhotoSource], request: Request | None = None, *,
        on_error: Literal["raise"] = "raise", limits: Limits | None = None, batch_size: int = 16,
        **settings: Unpack[Keywords],
    ) -> Iterator[Caption]: ...  # fmt: skip
    @overload
    def stream(
        self, photos: Iterable[PhotoSource], request: Request | None = None, *,
        on_error: OnError, limits: Limits | None = None, batch_size: int = 16,
        **settings: Unpack[Keywords],
    ) -> Iterator[Caption | PhotoError]: ...  # fmt: skip

    def stream(
        self, photos: Iterable[PhotoSource], request: Request | None = None, *,
        on_error: OnError = "raise", limits: Limits | None = None, batch_size: int = 16,
        **settings: Unpack[Keywords],
    ) -> Iterator[Caption | PhotoError]:  # fmt: skip
        """Captions of any number of photos, in their order: paths, web addresses, and whatever else
        `caption` takes. They are read ahead, and decoded beside the model. Without heatmaps,
        `caption.photo` has the photo's size and no picture. on_error: as `caption`."""
        from .batch.stream import stream

        asked = (request or Request()).with_(**settings).seeded()
        self.search(asked)
        found = stream(self, photos, asked, limits=limits or Limits(), batch_size=batch_size)
        return found if on_error == "return" else map(_raised, found)

    def search(self, request: Request) -> Search:
        """The search that a request amounts to with this model. Raises CaptionerError when it makes
        no sense."""
        self.model.check(request)
        if request.heatmaps == EVIDENCE and not self.model.fades:
            raise SettingError(
                f"{self.name} has no evidence maps: they need a text that looks at the photo by "
                "cross-attention. Leave `heatmaps` at attention."
            )
        if request.explain:
            self._ids(request.explain)
        return request.search(self.model.search)

    @torch.inference_mode()
    def caption_photos(self, photos: Sequence[Photo], request: Request) -> list[Caption]:
        """Caption loaded photos as one batch."""
        if not photos:
            return []
        return self._caption(self.model.see(photos, request), photos, request)

    def caption_pixels(
        self, pixels: np.ndarray | None, photos: Sequence[Photo], request: Request
    ) -> list[Caption]:
        """Caption a batch of which the squares are made already: pixels (B, S, S, 3) uint8, None of
        a model that sees the photos themselves; and the photos, for the drawings."""
        if pixels is None:
            return self.caption_photos(photos, request)
        return self.caption_features(self.encode(pixels), photos, request)

    def encode(self, pixels: np.ndarray) -> Tensor:
        """pixels (B, S, S, 3) uint8 -> patch features (B, N, C), of a model that sees squares."""
        return self.own.encode(pixels)

    @torch.inference_mode()
    def caption_features(
        self, features: Tensor, photos: Sequence[Photo], request: Request
    ) -> list[Caption]:
        """Caption a batch of photos whose patch features (B, N, C) are known."""
        memory = self.own.memory_of(features.to(self.device))
        return self._caption(memory, photos, request)

    @property
    def own(self) -> OwnModel:
        """The model, where it is one of ours. Raises CaptionerError for one from the hub."""
        if not isinstance(self.model, OwnModel):
            raise CaptionerError(f"{self.name} prepares photos by itself: it takes no squares.")
        return self.model

    def explain(
        self,
        photo: PhotoSource,
        text: str,
        request: Request | None = None,
        *,
        limits: Limits | None = None,
        **settings: Unpack[Keywords],
    ) -> Caption:
        """Any sentence about a photo as if the model had written it: the probability that it gives
        each word after those before it, and each word's heatmap.

        Raises:
            PhotoError: the photo cannot be used. CaptionerError: the text has no words, or more
            than the model can read.
        """
        self._ids(text)
        settings["explain"] = text
        return self.caption(photo, request, limits=limits, **settings)

    @torch.inference_mode()
    def explain_photo(self, photo: Photo, texts: Sequence[str], request: Request) -> list[Caption]:
        """Several sentences about a loaded photo, as `explain`."""
        if not texts:
            return []
        memory = self.model.part(self.model.see([photo], request), [0] * len(texts))
        found = self._read(memory, [self._ids(text) for text in texts], request)
        return self._finish(memory, [photo] * len(texts), found, request)

    @torch.inference_mode()
    def word_attention(self, caption: Caption) -> list[np.ndarray]:
        """Every layer's and head's own map for each word of a caption that this model wrote: one
        array (L, H, h, w) float32 a word, each map summing to 1. `Word.heatmap` is the average of
        those that the model names. Raises CaptionerError for a model without maps."""
        if not self.model.maps:
            raise CaptionerError(no_maps(self.model, self.name))
        memory = self.model.see([caption.photo], caption.request)
        [weights] = self.model.look(memory, [caption.ids])  # (L, H, T, N)
        maps = self.model.placement(memory, 0).lay(weights.numpy())
        if caption.blank:
            return [np.full_like(maps[:, :, 0], 1 / maps[0, 0, 0].size) for _ in caption.words]
        spans = self.model.tokenizer.words(caption.ids)
        return [maps[:, :, s.start : s.stop].mean(axis=2) for s in spans]

    def with_heatmaps(self, caption: Caption, kind: str) -> Caption:
        """A caption that this model wrote, with the other kind of heatmaps: "attention" or
        "evidence". Raises CaptionerError for a model that has none of that kind."""
        request = caption.request.with_(heatmaps=kind)
        self.search(request)
        if caption.blank:  # its maps are flat, of either kind
            return replace(caption, maps=kind_of(self.model, kind), request=request)
        with torch.inference_mode():
            memory = self.model.see([caption.photo], request)
            [maps] = heatmaps(self.model, memory, [caption.ids], kind)
        if maps is None:
            raise CaptionerError(no_maps(self.model, self.name))
        words = [replace(w, heatmap=m) for w, m in zip(caption.words, maps, strict=True)]
        return replace(caption, words=words, maps=kind_of(self.model, kind), request=request)

    def _caption(self, memory: Any, photos: Sequence[Photo], request: Request) -> list[Caption]:
        """Captions of the photos that the model has in its memory."""
        if request.explain:
            found = self._read(memory, [self._ids(request.explain)] * len(photos), request)
            return self._finish(memory, photos, found, request)
        request = request.seeded()
        search, tokenizer = self.search(request), self.model.tokenizer
        found = self.model.write(
            memory,
            search,
            prefix=self._given(request),
            processors=[BannedWords(request.without, tokenizer)] if request.without else [],
        )
        captions = self._finish(memory, photos, found, request, search.max_length)
        return [blank(caption) if caption.photo.blank else caption for caption in captions]

    def _ids(self, text: str) -> list[int]:
        """The token ids of a text to explain. Raises CaptionerError where it has no words."""
        ids = self.model.tokenizer.encode(text)
        if not self.model.tokenizer.words(ids):
            raise CaptionerError("There is nothing to explain: the text has no words.")
        return ids

    def _read(
        self, memory: Any, captions: Sequence[list[int]], request: Request
    ) -> list[list[Hypothesis]]:
        """Given captions, one a photo, as if the search had found them."""
        penalty = self.search(request).length_penalty
        found = []
        for ids, row in zip(captions, self.model.logprobs(memory, captions), strict=True):
            logprobs = tuple(row.tolist())
            score = sum(logprobs) / len(logprobs) ** penalty
            found.append([Hypothesis(tuple(ids), logprobs, score)])
        return found

    def _finish(
        self,
        memory: Any,
        photos: Sequence[Photo],
        found: Sequence[Sequence[Hypothesis]],
        request: Request,
        longest: int | None = None,
    ) -> list[Caption]:
        """Captions of what was found for each photo, best first, with their heatmaps."""
        captions: list[list[Caption]] = [[] for _ in photos]
        given = 0 if request.explain else len(self._given(request))
        for rank in range(max(len(row) for row in found)):
            # One pass for the best captions of all photos, one for the second best, ...
            with_rank = [i for i, row in enumerate(found) if rank < len(row)]
            part = memory if len(with_rank) == len(found) else self.model.part(memory, with_rank)
            hypotheses = self._with_own(part, [found[i][rank] for i in with_rank], given)
            looks = heatmaps(self.model, part, [one.ids for one in hypotheses], request.heatmaps)
            for place, (i, maps) in enumerate(zip(with_rank, looks, strict=True)):
                placement = None if maps is None else self.model.placement(part, place)
                one = finish(
                    self.model, photos[i], hypotheses[place], maps, placement, request, given,
                    longest,
                )  # fmt: skip
                captions[i].append(one)
        for first, *others in captions:
            first.alternatives.extend(others)
        return [row[0] for row in captions]

    def _given(self, request: Request) -> list[int]:
        """The token ids that every caption begins with."""
        return self.model.tokenizer.encode_prefix(request.prefix)

    def _with_own(self, memory: Any, found: list[Hypothesis], given: int) -> list[Hypothesis]:
        """The hypotheses, one a photo, with the model's own log-probabilities of the `given` tokens
        that they begin with."""
        if not given:
            return found
        rows = self.model.logprobs(memory, [one.ids for one in found])
        return [
            replace(one, logprobs=(*row[:given].tolist(), *one.logprobs[given:]))
            for one, row in zip(found, rows, strict=True)
        ]


def _raised(answer: Caption | PhotoError) -> Caption:
    if isinstance(answer, PhotoError):
        raise answer
    return answer


def _loaded(
    source: PhotoSource, side: int, limits: Limits, many: bool, on_error: OnError
) -> Photo | PhotoError:
    try:
        return load_photo(source, min_side=side, limits=limits)
    except PhotoError as error:
        if not many:
            raise
        if on_error == "return":
            return error
        raise PhotoError(f'{error} on_error="return" gives the captions of the others.') from error


def load(
    model: str | Path | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    server: str | None = None,
    runtime: str | None = None,
) -> Captioner:
    """The model in the box, one in a folder, one of the Hugging Face hub, or one that runs on a
    server, ready to caption.

    Args:
        model: a model folder as `python -m train` writes it, a checkpoint of the transformers
            library as a folder or by its hub name (docs/hub.md); None for the model in the box.
        device: "cpu", "cuda", "cuda:1", "mps"; None for the best there is.
        dtype: "float32", "bfloat16", "float16"; None for what the device is quickest in without
            changing captions noticeably.
        revision: the branch, tag or commit of a model of the hub.
        server: the address of a server with the OpenAI chat interface, which runs the model of this
            name, such as "http://localhost:8000/v1".
        runtime: "openvino" runs the encoder on OpenVINO (an extra), which on a CPU takes a half to
            a third of the time; "torch" or None on torch.

    Raises:
        SettingError: these do not go together.
        ModelError: the folder is missing, damaged or of another kind, the hub has no such model, or
            the server cannot be reached.
    """
    if runtime not in (None, *RUNTIMES):
        raise SettingError(f"`runtime` is {' or '.join(RUNTIMES)}, not {runtime!r}.")
    if server:
        from .server import ServerModel

        if runtime:
            raise SettingError(ONLY_OURS)
        if device or dtype:
            raise SettingError("`server` computes elsewhere: leave `device` and `dtype` out.")
        served = ServerModel(server, str(model) if model else None)
        return Captioner(served, device=torch.device("cpu"), dtype=torch.float32)
    where = choose_device(device)
    kind = choose_dtype(dtype, where)
    name = model or BUILTIN
    if runtime == "openvino" and (where.type != "cpu" or is_hub(name)):
        raise SettingError(ONLY_OURS)
    if is_hub(name):
        from .hub.families import load_hub

        made = load_hub(name, device=where, dtype=kind, revision=revision)
        return Captioner(made, device=where, dtype=kind)
    if revision:
        raise ModelError("A `revision` is one of a model of the Hugging Face hub.")
    own = load_model(name)
    if runtime == "openvino":
        from .openvino import OpenVinoEncoder

        own.runtime = OpenVinoEncoder(own, kind)
    return Captioner(own, device=where, dtype=kind)
