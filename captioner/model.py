"""CaptionModel: encoder, projection, decoder and tokenizer as one, with save and load.

    photo pixels (B, S, S, 3) --encoder--> patch features (B, N, C)
        --projection--> patches (B, N, D) --decoder.photo_memory--> keys and values, once per photo
        --decoder, token by token--> caption

`OwnModel` is what it has in common with an `ensemble.Ensemble`: all that a Captioner asks of a
model (`interface.Model`), and how it is saved.

A saved model is a folder: `config.json`, `model.safetensors`, `tokenizer.json`, `MODEL_CARD.md`.
Nothing in it is code, and nothing of it is unpickled.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from .attention import Combine, Placement
from .decoder import DecoderConfig, KeyValue, TextDecoder
from .encoders import EncoderConfig, PatchEncoder, PatchFeatures, build_encoder
from .errors import ModelError, SettingError
from .evidence import fade
from .files import replace
from .generation import Hypothesis, Processor, Search, Step, generate
from .photos import Photo, to_square
from .projection import Projection
from .request import Request
from .tokenizer import BOS, EOS, PAD, CaptionTokenizer
from .weights import STORED, Undrawn, pack, shapes, unpack

FORMAT = "captioner-1"
FILES = ("config.json", "model.safetensors", "tokenizer.json")
# Photos that go through the encoder together on a CPU: of 1 to 16 the quickest with the model in
# the box, in float32 and in bfloat16.
CPU_PHOTOS = 4


@dataclass
class ModelConfig:
    """What `config.json` holds.

    search: the search that `caption` uses unless told otherwise.
    combine: which layers and heads make a heatmap.
    weights: "float32", "float16", "bfloat16" or "int8", how the weights are stored (not how they
        are run).
    shares: of an ensemble, how much each of its models counts; of a single model none.
    about: what the model is, for people: name, version, what it was trained on, its scores.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    search: Search = field(default_factory=Search)
    combine: Combine = field(default_factory=Combine)
    weights: str = "float32"
    shares: tuple[float, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        data: dict[str, Any] = {
            "format": FORMAT,
            "encoder": self.encoder.to_dict(),
            "decoder": self.decoder.to_dict(),
            "search": self.search.to_dict(),
            "combine": self.combine.to_dict(),
            "weights": self.weights,
            "about": self.about,
        }
        if self.shares:
            data["shares"] = list(self.shares)
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """Raises ModelError for anything that `to_json` did not write."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ModelError(f"config.json is not JSON: {error}.") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ModelError(
                f'config.json is not a captioner model\'s: it lacks "format": "{FORMAT}".'
            )
        if data.get("weights") not in STORED:
            raise ModelError(f"config.json: weights must be one of {', '.join(STORED)}.")
        shares = data.get("shares", [])
        if not isinstance(shares, list) or not all(
            isinstance(share, (int, float)) and 0 < share < 1 for share in shares
        ):
            raise ModelError("config.json: shares must be numbers above 0 and below 1.")
        return cls(
            encoder=_read(EncoderConfig, data, "encoder"),
            decoder=_read(DecoderConfig, data, "decoder"),
            search=_read(Search, data, "search"),
            combine=_read(Combine, data, "combine"),
            weights=data["weights"],
            shares=tuple(float(share) for share in shares),
            about=data.get("about") or {},
        )


def _read(kind: Any, data: dict[str, Any], section: str) -> Any:
    """A dataclass from its section of the config; lists become the tuples they were."""
    values = data.get(section)
    if not isinstance(values, dict):
        raise ModelError(f"config.json has no section {section!r}.")
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ModelError(f"config.json: {section} has an unknown field {unknown[0]!r}.")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except TypeError as error:
        raise ModelError(f"config.json: {section}: {error}.") from error


class OwnModel(nn.Module):
    """A CaptionModel, or an Ensemble of them.

    grid: (h, w) of the patches. width: C, of the features. layers: the names, for people, of the L
    layers whose maps there are.
    """

    config: ModelConfig
    tokenizer: CaptionTokenizer
    grid: tuple[int, int]
    width: int
    layers: list[str]
    maps = "cross-attention"
    fades = True
    square = True
    runtime: Callable[[np.ndarray], np.ndarray] | None = None
    """What computes `features` in place of torch: pixels (B, S, S, 3) uint8 -> (B, N, C)."""

    def __init__(self, config: ModelConfig, tokenizer: CaptionTokenizer):
        super().__init__()
        if len(tokenizer) != config.decoder.vocab_size:
            raise ModelError(
                f"The tokenizer has {len(tokenizer)} tokens, "
                f"the decoder {config.decoder.vocab_size}."
            )
        self.config = config
        self.tokenizer = tokenizer

    def features(self, pixels: Tensor) -> Tensor:
        """uint8 pixels (B, S, S, 3) -> patch features (B, N, C)."""
        raise NotImplementedError

    def memory_of(self, features: Tensor) -> list[KeyValue]:
        """Patch features (B, N, C) -> cross-attention keys and values, all layers."""
        raise NotImplementedError

    def step(self, memory: list[KeyValue]) -> Step:
        """The search's step over the photos in `memory`."""
        raise NotImplementedError

    def logits(self, ids: Tensor, memory: list[KeyValue]) -> Tensor:
        """ids (R, T) -> logits (R, T, V) of what follows each token."""
        raise NotImplementedError

    def explain(self, ids: Tensor, memory: list[KeyValue]) -> tuple[Tensor, Tensor]:
        """Logits (R, T, V) and weights (R, L, H, T, N), as `TextDecoder.explain`."""
        raise NotImplementedError

    @property
    def about(self) -> dict[str, Any]:
        return self.config.about

    @property
    def search(self) -> Search:
        return self.config.search

    @property
    def combine(self) -> Combine:
        return self.config.combine

    @property
    def side(self) -> int:
        return self.config.encoder.size

    def check(self, request: Request) -> None:
        for name in ("prompt", "style"):
            if getattr(request, name):
                raise SettingError(
                    f"This model follows no `{name}`: it has learnt to write one kind of sentence."
                )

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> Tensor:
        """pixels (B, S, S, 3) uint8 -> patch features (B, N, C)."""
        like = next(self.parameters())
        if self.runtime:
            return torch.from_numpy(self.runtime(pixels)).to(like)
        parts = together(torch.from_numpy(pixels).to(like.device))
        return torch.cat([self.features(part) for part in parts])

    @torch.inference_mode()
    def see(self, photos: Sequence[Photo], request: Request) -> list[KeyValue]:
        return self.memory_of(self.encode(np.stack([to_square(p, self.side) for p in photos])))

    def part(self, memory: list[KeyValue], photos: Sequence[int]) -> list[KeyValue]:
        index = torch.tensor(photos, device=memory[0][0].device)
        return [(k[index], v[index]) for k, v in memory]

    def faded(self, memory: list[KeyValue], shown: Tensor) -> list[KeyValue]:
        return fade(memory, shown.to(memory[0][0].device))

    def placement(self, memory: list[KeyValue], photo: int) -> Placement:
        return Placement.whole(self.grid)

    def memory(self, pixels: Tensor) -> list[KeyValue]:
        """uint8 pixels (B, S, S, 3) -> the photos' cross-attention keys and values, all layers."""
        return self.memory_of(self.features(pixels))

    def write(
        self,
        memory: list[KeyValue],
        search: Search | None = None,
        *,
        prefix: Sequence[int] = (),
        processors: Sequence[Processor] = (),
        seeds: Sequence[int] | None = None,
    ) -> list[list[Hypothesis]]:
        """Captions of the photos in `memory`, best first for each. Options as `generate`."""
        search = search or self.config.search
        if search.max_length >= self.config.decoder.positions:
            raise SettingError(
                f"The maximum length is {search.max_length}, but this model has places for "
                f"{self.config.decoder.positions - 1} tokens; lower `max_length`."
            )
        keys = memory[0][0]
        return generate(
            self.step(memory), len(keys), search,
            bos=BOS, eos=EOS, pad=PAD, prefix=prefix, processors=processors, seeds=seeds,
            device=keys.device,
        )  # fmt: skip

    @torch.inference_mode()
    def look(self, memory: list[KeyValue], captions: Sequence[Sequence[int]]) -> list[Tensor]:
        """The second look at finished captions, one a photo: for each its cross-attention weights
        (L, H, T, N) float32, position t being where the model looked to write token t."""
        longest = max(len(ids) for ids in captions)
        # Position 0 reads the begin token and writes token 0; the end token's look is left out.
        rows = [[BOS, *ids][: len(ids)] + [PAD] * (longest - len(ids)) for ids in captions]
        ids = torch.tensor(rows, device=memory[0][0].device)
        if not ids.numel():
            shape = (len(self.layers), self.config.decoder.heads, 0, memory[0][0].shape[2])
            return [torch.zeros(shape) for _ in captions]
        _, weights = self.explain(ids, memory)
        return [w[:, :, : len(c)].float().cpu() for w, c in zip(weights, captions, strict=True)]

    def logprobs(self, memory: list[KeyValue], captions: Sequence[Sequence[int]]) -> list[Tensor]:
        longest = max(len(ids) for ids in captions)
        if longest >= self.config.decoder.positions:
            raise too_long(longest, self.config.decoder.positions - 1)
        padding = [[PAD] * (longest - len(ids)) for ids in captions]
        read = [[BOS, *ids, *pad] for ids, pad in zip(captions, padding, strict=True)]
        written = [[*ids, EOS, *pad] for ids, pad in zip(captions, padding, strict=True)]
        device = memory[0][0].device
        found = self.logits(torch.tensor(read, device=device), memory).float().log_softmax(dim=-1)
        found = found.gather(2, torch.tensor(written, device=device).unsqueeze(2)).squeeze(2)
        return [row[: len(ids) + 1] for row, ids in zip(found, captions, strict=True)]

    def save(self, folder: Path | str, card: str | None = None) -> None:
        """Write the model folder; each file is replaced whole or not at all.

        Saving a loaded model again gives the same bytes. `card` is the text of MODEL_CARD.md; the
        file is left alone without it.
        """
        folder = Path(folder)
        state = {name: t.detach().cpu() for name, t in self._state().items()}
        tensors = pack(state, self.config.weights)
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / "model.safetensors", save_tensors(tensors, {"format": FORMAT}))
        replace(folder / "tokenizer.json", self.tokenizer.to_json().encode())
        replace(folder / "config.json", self.config.to_json().encode())
        if card is not None:
            replace(folder / "MODEL_CARD.md", card.encode())

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """A saved model, in evaluation mode and float32 on the CPU.

        Raises ModelError, a sentence, when a file is missing, damaged or of another kind.
        """
        folder = Path(folder)
        config = read_config(folder)
        file = folder / "model.safetensors"
        try:
            with Undrawn():
                model = cls(config, CaptionTokenizer.load(folder / "tokenizer.json"))
            stored = load_file(file)  # mapped into memory, not read
            model._fill(stored, file)
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{folder} cannot be read: {error}.") from error
        except SafetensorError as error:
            raise ModelError(
                f"{file} is damaged or not a safetensors file ({error}); copy or download it again."
            ) from error
        except ModelError as error:
            raise ModelError(f"{folder}: {error}") from error
        return model.eval().to(memory_format=torch.channels_last)

    def _fill(self, stored: dict[str, Tensor], file: Path) -> None:
        """Copy what `file` holds into the model, a tensor at a time: it never has it all twice."""
        state, found = self._state(), shapes(stored)
        expected = {name: tuple(t.shape) for name, t in state.items()}
        if expected != found:
            wrong = sorted(set(expected.items()) ^ set(found.items()))[0][0]
            raise ModelError(
                f"{file.name} does not fit config.json: the tensor {wrong!r} is missing, unknown "
                "or of another shape."
            )
        for name, tensor in unpack(stored):
            state[name].copy_(tensor)

    def _state(self) -> dict[str, Tensor]:
        """The state by sorted names, where what has two names (a shared trunk) has its first."""
        once = {name for name, _ in (*self.named_parameters(), *self.named_buffers())}
        return {name: t for name, t in sorted(self.state_dict().items()) if name in once}


class CaptionModel(OwnModel):
    """One network. `Captioner` is what people hold; this is what training trains."""

    def __init__(self, config: ModelConfig, tokenizer: CaptionTokenizer):
        super().__init__(config, tokenizer)
        if config.shares:
            raise ModelError(
                f"It is an ensemble of {len(config.shares)} models, and one is needed here: "
                "`python -m train release FOLDER --member 1 ...` takes one out."
            )
        self.encoder: PatchEncoder = build_encoder(config.encoder)
        self.grid = self.encoder.grid
        self.width = self.encoder.width
        self.layers = [f"Layer {i + 1}" for i in range(config.decoder.layers)]
        self.projection = Projection(
            self.width, config.decoder.width, self.grid, self.encoder.things
        )
        self.decoder = TextDecoder(config.decoder)

    def features(self, pixels: Tensor) -> Tensor:
        found: PatchFeatures = self.encoder(pixels)
        return found.features

    def memory_of(self, features: Tensor, patches: Tensor | None = None) -> list[KeyValue]:
        """Patch features (B, N, C) -> cross-attention keys and values, all layers; of each photo
        only those of the `patches` (B, n) int64, where given (training hides some)."""
        dtype = self.projection.linear.weight.dtype
        return self._memory(self.projection(features.to(dtype)), patches)

    def imagined(self, things: Tensor, patches: Tensor | None = None) -> list[KeyValue]:
        """As `memory_of`, of photos of which only the things (B, N, K) are known."""
        return self._memory(self.projection.imagined(things), patches)

    def _memory(self, x: Tensor, patches: Tensor | None) -> list[KeyValue]:
        if patches is not None:
            x = x.gather(1, patches.unsqueeze(2).expand(-1, -1, x.shape[2]))
        return self.decoder.photo_memory(x)

    def step(self, memory: list[KeyValue]) -> "CachedStep":
        return CachedStep(self.decoder, memory)

    def logits(self, ids: Tensor, memory: list[KeyValue]) -> Tensor:
        logits: Tensor
        logits, _ = self.decoder(ids, memory)
        return logits

    def explain(self, ids: Tensor, memory: list[KeyValue]) -> tuple[Tensor, Tensor]:
        return self.decoder.explain(ids, memory)


def read_config(folder: Path | str) -> ModelConfig:
    """The config of a model folder that has all its files, or ModelError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}.")
    for name in FILES:
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not a captioner model: it has no {name}.")
    try:
        return ModelConfig.from_json((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{folder} cannot be read: {error}.") from error
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from error


def together(pixels: Tensor) -> tuple[Tensor, ...]:
    """The photos in parts that go through the encoder together: on a CPU a few at a time, since the
    activations of more fit neither into its caches nor into the memory that the allocator keeps at
    hand."""
    return torch.split(pixels, CPU_PHOTOS if pixels.device.type == "cpu" else len(pixels))


def too_long(tokens: int, places: int) -> SettingError:
    return SettingError(
        f"The sentence has {tokens} tokens, but this model has places for {places}; shorten it."
    )


class CachedStep:
    """The decoder as a `generation.Step`: holds the self-attention cache, follows the rows."""

    def __init__(self, decoder: TextDecoder, memory: list[KeyValue]):
        self.decoder = decoder
        self.memory = memory
        self.past: list[KeyValue] | None = None
        self.photo = torch.arange(len(memory[0][0]))  # which photo each row belongs to

    def __call__(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        """tokens (R, t), parents (R,) -> logits (R, V) of what follows."""
        if parents is not None and self.past is not None:
            self.past = [(k[parents], v[parents]) for k, v in self.past]
            self._drop_finished(parents.cpu())
        logits: Tensor
        logits, self.past = self.decoder(tokens, self.memory, self.past)
        return logits[:, -1]

    def _drop_finished(self, parents: Tensor) -> None:
        """Photos that no row continues leave the memory, so that rows stay grouped by photo."""
        photo = self.photo[parents]
        alive = torch.unique_consecutive(photo)
        if len(alive) < len(self.memory[0][0]):
            index = alive.to(self.memory[0][0].device)
            self.memory = [(k[index], v[index]) for k, v in self.memory]
            photo = torch.searchsorted(alive, photo)
        self.photo = photo
