"""How quick hub models are beside transformers' own `generate`: python -m eval speed --peers.

Models of real sizes with random weights (no hub is needed) write captions of a batch of photographs
by our search and by `generate`: beam search, all captions of the same length, float32. In one
process the two take turns, round after round, and medians count; the ids must be equal. The memory
that the text part takes above the loaded model and the encoded photos is measured for each in a
process of its own.

The text part begins with what the encoder gave and ends with the captions' ids; what is computed
of the photos' keys and values is in it. The encoder is the same for both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from captioner.captioner import Captioner
from captioner.errors import SettingError
from captioner.generation import Search
from captioner.hub.cross import Looked
from captioner.hub.locate import Checkpoint
from captioner.machine import describe
from captioner.photos import Photo, load_photo

KINDS = {"blip-base": "BLIP-base", "vit-gpt2": "ViT-GPT2"}
SIDES = {"ours": "our search", "theirs": "generate"}
TOKENS = 20


def measure(files: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """The figures of both kinds of model, or of the one whose name begins with `only`; what each
    side took is told as soon as it is there, since on a busy machine all take half an hour. Raises
    SettingError."""
    chosen = [kind for kind in KINDS if kind.startswith(options.only or "")]
    if not chosen:
        raise SettingError(f"--only is the beginning of {' or '.join(KINDS)}, not {options.only}.")
    photos = [load_photo(files[i % len(files)], min_side=512) for i in range(options.batch_size)]
    figures: dict[str, Any] = {"batch_size": len(photos), "beams": options.beams, "tokens": TOKENS,
                               "rounds": options.rounds, "machine": describe()}  # fmt: skip
    for kind in chosen:
        figures[kind] = _rounds(kind, photos, options) | _memory(kind, options)
    return figures


def show(figures: dict[str, Any]) -> None:
    print(f"Batch {figures['batch_size']}, beams {figures['beams']}, {figures['tokens']} tokens, "
          f"float32, medians of {figures['rounds']} rounds")  # fmt: skip
    for kind in [kind for kind in KINDS if kind in figures]:
        one = figures[kind]
        print(f"{KINDS[kind]}: captions {'equal' if one['equal'] else 'NOT EQUAL'}")
        for what in ("text", "whole"):
            ours, theirs = one["ours"][what], one["theirs"][what]
            print(f"  {'text part' if what == 'text' else 'end to end':<11} "
                  f"{figures['batch_size'] / ours:.2f} photos/s, generate "
                  f"{figures['batch_size'] / theirs:.2f}: {theirs / ours:.2f} times")  # fmt: skip
        share = one["ours"]["encoder"] / one["ours"]["whole"]
        print(f"  encoder     {100 * share:.0f}% of our time")
        ours, theirs = one["ours_mb"], one["theirs_mb"]
        print(f"  memory      {ours:.0f} MB in the text part, generate {theirs:.0f} MB: "
              f"{100 * ours / theirs:.0f}%")  # fmt: skip


def _rounds(kind: str, photos: list[Photo], options: argparse.Namespace) -> dict[str, Any]:
    sides = {"ours": _ours(kind, options.beams), "theirs": _theirs(kind, options.beams)}
    spent: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    equal = True
    with torch.inference_mode():
        for number in range(options.rounds + 1):  # the first warms up and is dropped
            ids = {}
            for side, (encode, write) in sides.items():
                at = time.perf_counter()
                states = encode(photos)
                middle = time.perf_counter()
                ids[side] = write(states)
                spent[side].append((middle - at, time.perf_counter() - middle))
                took = "encoder {:.2f} s, text part {:.2f} s".format(*spent[side][-1])
                _tell(kind, side, f"{took} in {f'round {number}' if number else 'the warm-up'}")
            equal &= ids["ours"] == ids["theirs"]
    found: dict[str, Any] = {"equal": equal}
    for side, rounds in spent.items():
        found[side] = {
            "encoder": statistics.median(encoder for encoder, _ in rounds[1:]),
            "text": statistics.median(text for _, text in rounds[1:]),
            "whole": statistics.median(encoder + text for encoder, text in rounds[1:]),
        }
    return found


def _memory(kind: str, options: argparse.Namespace) -> dict[str, float]:
    """MB that the text part takes, of each side in a process of its own."""
    found = {}
    for side in ("ours", "theirs"):
        command = [sys.executable, "-m", __name__, kind, side, str(options.batch_size),
                   str(options.beams)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[f"{side}_mb"] = json.loads(done.stdout.splitlines()[-1])
        _tell(kind, side, f"{found[f'{side}_mb']:.0f} MB in the text part")
    return found


def _tell(kind: str, side: str, what: str) -> None:
    print(f"{KINDS[kind]}, {SIDES[side]}: {what}", file=sys.stderr, flush=True)


def main() -> None:
    """Print the memory of one side, for `_memory`."""
    kind, side, batch, beams = sys.argv[1:]
    encode, write = {"ours": _ours, "theirs": _theirs}[side](kind, int(beams))
    photos = [
        Photo(Image.new("RGB", (400, 400), (i, 99, 150)), 400, 400) for i in range(int(batch))
    ]
    with torch.inference_mode():
        states = encode(photos)
        write(states[:1])  # what is set up once
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _kilobytes("VmRSS")
        write(states)
    print((_kilobytes("VmHWM") - before) / 1000)


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


# The two sides ------------------------------------------------------------------------------------

Side = tuple[Callable[[list[Photo]], torch.Tensor], Callable[[torch.Tensor], list[list[int]]]]


def _ours(kind: str, beams: int) -> Side:
    model: Any = Captioner(_model(kind), device=torch.device("cpu"), dtype=torch.float32).model
    search = Search(beams=beams, length_penalty=1.0, min_length=TOKENS, max_length=TOKENS)

    def encode(photos: list[Photo]) -> torch.Tensor:
        return torch.cat([states for states, _ in model.encoded(photos, "")])

    def write(states: torch.Tensor) -> list[list[int]]:
        memory = [cross.memory(states) for cross in model.crosses]
        places = [model.place(Photo(Image.new("RGB", (8, 8)), 8, 8))] * len(states)
        found = model.write(Looked(places, (), None, memory, None, model.first), search)
        return [list(row[0].ids) for row in found]

    return encode, write


def _theirs(kind: str, beams: int) -> Side:
    from transformers.modeling_outputs import BaseModelOutput

    plain = _model(kind, shared=False)
    net, how = plain.net, {"num_beams": beams, "max_new_tokens": TOKENS, "min_new_tokens": TOKENS}

    def encode(photos: list[Photo]) -> torch.Tensor:
        pixels = plain.images(images=[p.image for p in photos], return_tensors="pt").pixel_values
        tower = net.vision_model if kind == "blip-base" else net.encoder
        states: torch.Tensor = tower(pixels).last_hidden_state
        return states

    def write(states: torch.Tensor) -> list[list[int]]:
        begin = torch.full((len(states), 1), plain.begin)
        if kind == "blip-base":
            ids = net.text_decoder.generate(
                input_ids=begin, encoder_hidden_states=states, eos_token_id=plain.end,
                pad_token_id=0, **how,
            )  # fmt: skip
        else:
            ids = net.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states), decoder_input_ids=begin,
                eos_token_id=plain.end, pad_token_id=plain.end, **how,
            )  # fmt: skip
        return ids[:, 1:].tolist()

    return encode, write


def _model(kind: str, *, shared: bool = True) -> Any:
    """A model of real size. shared: with our cross-attention in it."""
    from captioner.hub.blip import Blip
    from captioner.hub.encoder_decoder import EncoderDecoder

    torch.manual_seed(0)
    made = (_blip_base if kind == "blip-base" else _vit_gpt2)()
    family: Any = Blip if kind == "blip-base" else EncoderDecoder
    if not shared:  # the same, but for what the base of both puts in
        family = type("Plain", (family,), {"__init__": _plain_init})
    return family(Checkpoint(kind, Path(), {}), *made)


def _plain_init(self: Any, checkpoint: Checkpoint, net: Any, images: Any, tokenizer: Any) -> None:
    torch.nn.Module.__init__(self)
    self.net, self.images = net, images
    text = getattr(net.config, "text_config", None) or net.config.decoder
    self.begin = text.bos_token_id
    self.end = getattr(text, "sep_token_id", None) or text.eos_token_id


def _tokenizer(size: int) -> Any:
    """Words that are numbers: nothing is read of them here."""
    library: Any = import_module("transformers")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = special + [f"w{i}" for i in range(size - len(special))]
    return library.BertTokenizer(vocab={word: i for i, word in enumerate(words)})


def _blip_base() -> tuple[Any, Any, Any]:
    library: Any = import_module("transformers")
    config = library.BlipConfig(
        text_config={"vocab_size": 30524, "num_attention_heads": 12, "encoder_hidden_size": 768,
                     "bos_token_id": 30522, "eos_token_id": 3, "sep_token_id": 3,
                     "pad_token_id": 0},
        vision_config={"image_size": 384},
    )  # fmt: skip
    images = library.BlipImageProcessor(size={"height": 384, "width": 384})
    return library.BlipForConditionalGeneration(config).eval(), images, _tokenizer(30522)


def _vit_gpt2() -> tuple[Any, Any, Any]:
    library: Any = import_module("transformers")
    ids = {"eos_token_id": 3, "bos_token_id": 3}
    text = library.GPT2Config(is_decoder=True, add_cross_attention=True, **ids)
    ids = {"eos_token_id": 3, "pad_token_id": 3, "decoder_start_token_id": 3}
    net = library.VisionEncoderDecoderModel(
        library.VisionEncoderDecoderConfig(
            encoder=library.ViTConfig().to_dict(), decoder=text.to_dict(), **ids
        )
    ).eval()
    net.generation_config.update(**ids)
    images = library.ViTImageProcessor(size={"height": 224, "width": 224})
    return net, images, _tokenizer(50257)


if __name__ == "__main__":
    main()
