"""What cross-attention costs, and how the cost grows with patches, tokens and beams.

    python -m eval cost                                     # tables
    python -m eval cost --markdown docs/cross-attention.md  # put them into the page
    python -m eval cost --json
    python -m eval cost --quick                             # two sizes, one round
    python -m eval cost sparse --help                       # beside what attends to less

A decoder of the shipped sizes with random weights is timed on random patches: the words do not
matter for the cost. Every arm of a table is called in turn, round after round, so that what else
the machine does meets all of them; the median of the rounds counts, and a ratio is the median of
the rounds' ratios. With one thread (the default) the clock counts the CPU time of the process, not
the time it waits for a core.

Memory is what torch's profiler (profile_memory) records: every allocation and every release of
torch's CPU allocator during one call, scratch space inside an operator included. The peak is the
highest sum; what lived before the call (weights, inputs) is not in it.

The growth is the slope of a straight line through log(cost) over log(size): 1 is linear, 0 is
constant. "Above N = 1" is the slope after the cost of one single patch is taken off, that is, of
the part that patches cause. It is taken over the sizes that cost at least a tenth more than one
patch, and left out (–) where fewer than two do: below that it would be a slope of noise.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, cast

# The profiler's library otherwise reports every start and stop on stderr.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from captioner.decoder import CrossAttention, DecoderConfig, KeyValue, TextDecoder
from captioner.machine import cores

from .common import parser, print_json
from .turns import in_turns, using

BEGIN, END = "<!-- eval.cost: begin -->", "<!-- eval.cost: end -->"
ROUNDS, THREADS = 7, 1
MIB = 2**20

Arms = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Case:
    """Photos B, beams K of each, tokens T of a caption, patches N of a photo."""

    photos: int = 1
    beams: int = 1
    tokens: int = 16
    patches: int = 196


@dataclass(frozen=True)
class Experiment:
    """One table: what is called, and what varies. The first arm is what the others are divided by.

    axis: the field of `Case` that takes the values.
    """

    title: str
    arms: Callable[[TextDecoder, Case], Arms]
    case: Case
    axis: str
    values: tuple[int, ...]


# The formulas -------------------------------------------------------------------------------------


def memory_numbers(config: DecoderConfig, photos: int, patches: int) -> int:
    """Numbers in the keys and values of `photos` photos: 2 * L * N * D each."""
    return photos * 2 * config.layers * patches * config.width


def weight_numbers(config: DecoderConfig, rows: int, tokens: int, patches: int) -> int:
    """Numbers in the weights that the explicit path keeps for `rows` captions: L * H * T * N."""
    return rows * config.layers * config.heads * tokens * patches


def memory_operations(config: DecoderConfig, photos: int, patches: int) -> int:
    """Multiply-adds to compute the keys and values: 2 * L * N * D^2 a photo."""
    return photos * 2 * config.layers * patches * config.width**2


def attention_operations(config: DecoderConfig, rows: int, tokens: int, patches: int) -> int:
    """Multiply-adds of the cross-attention of `rows` captions, its keys and values given:
    2 * L * T * D^2 for the query and output projections, 2 * L * T * N * D for QK^T and AV."""
    size = config.width
    return rows * 2 * config.layers * tokens * size * (size + patches)


# What is called -----------------------------------------------------------------------------------


def attention_arms(decoder: TextDecoder, case: Case) -> Arms:
    """The cross-attention of all layers in one pass, on both paths, and its keys and values."""
    rows = case.photos * case.beams
    width = decoder.config.width
    patches = torch.randn(case.photos, case.patches, width)
    x = torch.randn(rows, case.tokens, width)
    memory = decoder.photo_memory(patches)
    pairs = list(zip(_cross_attentions(decoder), memory, strict=True))
    return {
        "fast": lambda: [layer(x, kv) for layer, kv in pairs],
        "explicit": lambda: [layer.explicit(x, kv) for layer, kv in pairs],
        "keys and values": lambda: decoder.photo_memory(patches),
    }


def pass_arms(decoder: TextDecoder, case: Case) -> Arms:
    """The whole decoder over finished captions: the fast path, and the second look."""
    ids = _tokens(decoder, case)
    memory = decoder.photo_memory(_patches(decoder, case))
    return {
        "decoder(...)": lambda: decoder(ids, memory),
        "decoder.explain(...)": lambda: decoder.explain(ids, memory),
    }


def writing_arms(decoder: TextDecoder, case: Case) -> Arms:
    """T steps of writing with K beams, keys and values handled in four ways."""
    patches = _patches(decoder, case)
    ids = _tokens(decoder, case)
    return {
        f"{when}, {how}": lambda kept=kept, shared=shared: write(  # type: ignore[misc]
            decoder, patches, ids, kept=kept, shared=shared
        )
        for when, kept in (("once", True), ("each step", False))
        for how, shared in (("shared", True), ("copied", False))
    }


def write(
    decoder: TextDecoder, patches: Tensor, ids: Tensor, *, kept: bool, shared: bool
) -> Tensor:
    """Feed ids (B*K, T) token by token, reordering the beams at every step as the search does.

    patches: (B, N, D). kept: keys and values are computed once, not at every step. shared: once a
    photo, not once a beam. Returns the logits of the last step (B*K, V), the same in all four ways.
    """
    beams = len(ids) // len(patches)
    if not shared:
        patches = patches.repeat_interleave(beams, dim=0)
    memory = decoder.photo_memory(patches) if kept else _computed_each_time(decoder, patches)
    # The worst a search can do: every row continues another row of its photo.
    parents = torch.arange(len(ids)).view(-1, beams).flip(1).flatten()
    past = None
    for step in range(ids.shape[1]):
        if past is not None:
            past = [(k[parents], v[parents]) for k, v in past]
        logits, past = decoder(ids[:, step : step + 1], memory, past)
    return logits[:, -1]


def _computed_each_time(decoder: TextDecoder, patches: Tensor) -> list[KeyValue]:
    """Stands in for the photos' memory: a layer that asks for its keys and values gets new ones."""

    class Memory:
        def __getitem__(self, layer: int) -> KeyValue:
            return layers[layer].memory(patches)

    layers = _cross_attentions(decoder)
    return cast(list[KeyValue], Memory())


def _cross_attentions(decoder: TextDecoder) -> list[CrossAttention]:
    return [m for m in decoder.modules() if isinstance(m, CrossAttention)]


def _patches(decoder: TextDecoder, case: Case) -> Tensor:
    return torch.randn(case.photos, case.patches, decoder.config.width)


def _tokens(decoder: TextDecoder, case: Case) -> Tensor:
    shape = (case.photos * case.beams, case.tokens)
    return torch.randint(decoder.config.vocab_size, shape)


def experiments(quick: bool) -> list[Experiment]:
    """All tables; `quick` keeps two sizes of each."""
    patches: tuple[int, ...] = (49, 81, 196, 256, 576, 1024)
    tokens: tuple[int, ...] = (8, 16, 32, 64)
    beams: tuple[int, ...] = (1, 2, 4, 8)
    if quick:
        patches, tokens, beams = (25, 100), (4, 8), (1, 4)
    length, photos = (4, 2) if quick else (16, 4)
    one, search = Case(photos=photos, tokens=length), Case(beams=3, tokens=length)
    attention = "The cross-attention of all layers, one pass"
    writing = "Writing a caption token by token"
    return [
        Experiment(attention, attention_arms, one, "patches", patches),
        Experiment(attention, attention_arms, one, "tokens", tokens),
        Experiment("The whole decoder, one pass", pass_arms, one, "patches", patches),
        Experiment("The whole decoder, one pass", pass_arms, one, "tokens", tokens),
        Experiment(writing, writing_arms, search, "patches", patches),
        Experiment(writing, writing_arms, search, "tokens", tokens),
        Experiment(writing, writing_arms, search, "beams", beams),
    ]


# Measuring ----------------------------------------------------------------------------------------


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory (bytes) that a call has at one moment, beyond what lived before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = call()
    del result
    assert recorded.profiler is not None and recorded.profiler.kineto_results is not None
    live = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":  # nbytes is below 0 for a release
            live += event.nbytes()
            peak = max(peak, live)
    return peak


def growth(sizes: list[int], costs: list[float], base: float = 0.0) -> float | None:
    """The exponent p of cost - base = a * size^p, by least squares on the logarithms, over the
    costs at least a tenth above the base; None where fewer than two are."""
    points = [(s, c - base) for s, c in zip(sizes, costs, strict=True) if c - base > base / 10]
    if len(points) < 2:
        return None
    x, y = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(x, y, 1)[0])


@torch.inference_mode()
def measure(experiment: Experiment, decoder: TextDecoder, rounds: int) -> dict[str, Any]:
    """One table: for each size the arms' milliseconds, ratios and peak bytes, and their growth."""
    axis, sizes = experiment.axis, list(experiment.values)
    # One patch: the cost that has nothing to do with their number.
    base = [1] if axis == "patches" else []
    arms = {
        size: experiment.arms(decoder, replace(experiment.case, **{axis: size}))
        for size in [*base, *sizes]
    }
    seconds = in_turns({(s, n): call for s in arms for n, call in arms[s].items()}, rounds)
    gc.collect()  # what earlier calls left must not be released in a call that is recorded
    rows = {}
    for size, calls in arms.items():
        first = seconds[size, next(iter(calls))]
        rows[size] = {
            name: {
                "ms": 1e3 * median(seconds[size, name]),
                "ratio": median(a / b for a, b in zip(seconds[size, name], first, strict=True)),
                "peak_bytes": peak_bytes(call),
            }
            for name, call in calls.items()
        }
    grown: dict[str, dict[str, float | None]] = {}
    for name in rows[sizes[0]]:
        grown[name] = {}
        for key in ("ms", "peak_bytes"):
            costs = [rows[s][name][key] for s in sizes]
            grown[name][key] = growth(sizes, costs)
            if base:
                grown[name][f"{key}_above_one"] = growth(sizes, costs, rows[1][name][key])
    return {
        "title": experiment.title,
        "axis": axis,
        "case": {k: v for k, v in asdict(experiment.case).items() if k != axis},
        "rows": [{"size": s, "arms": rows[s]} for s in sizes],
        "one_patch": rows[1] if base else None,
        "growth": grown,
    }


def report(quick: bool = False, rounds: int = ROUNDS, threads: int = THREADS) -> dict[str, Any]:
    """Everything that the command prints, as one object."""
    config = DecoderConfig()
    torch.manual_seed(0)
    decoder = TextDecoder(config).eval()
    with using(threads):
        tables = [measure(e, decoder, 1 if quick else rounds) for e in experiments(quick)]
    return {
        "settings": {
            "command": _command(quick, rounds, threads),
            "decoder": config.to_dict(),
            "dtype": "float32",
            "rounds": 1 if quick else rounds,
            "threads": threads,
            "clock": "CPU time" if threads == 1 else "wall time",
            "cores": cores(),
            "machine": platform.machine(),
            "torch": torch.__version__,
        },
        "tables": tables,
    }


def _command(quick: bool, rounds: int, threads: int) -> str:
    """The command that measures the same again; options at their defaults are left out."""
    options = [f"--threads {threads}"] if threads != THREADS else []
    if quick:
        options.append("--quick")
    elif rounds != ROUNDS:
        options.append(f"--rounds {rounds}")
    return " ".join(["python -m eval cost --markdown", *options])


# Printing -----------------------------------------------------------------------------------------

LETTERS = {"photos": "B", "beams": "K", "tokens": "T", "patches": "N"}


def markdown(result: dict[str, Any]) -> str:
    """The tables and a line about how they were made."""
    s = result["settings"]
    d = s["decoder"]
    about = (
        f"Made by `{s['command']}` on a machine with {s['cores']} cores "
        f"({s['machine']}), torch {s['torch']}, {s['dtype']}, {_count(s['threads'], 'thread')}, "
        f"{s['clock']}, median of {_count(s['rounds'], 'round')}; decoder: width {d['width']}, "
        f"{d['layers']} layers, {d['heads']} heads, {d['vocab_size']} tokens. "
        "Time in milliseconds; ×: times the first column; peak memory in MiB."
    )
    return "\n\n".join([about, *(_table(t) for t in result["tables"])]) + "\n"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _table(table: dict[str, Any]) -> str:
    letter = LETTERS[table["axis"]]
    fixed = ", ".join(f"{LETTERS[k]} = {v}" for k, v in table["case"].items())
    names = list(table["growth"])
    lines = [[letter, *(f"{n}, ms" for n in names), *(f"{n}, MiB" for n in names)]]
    for row in table["rows"]:
        arms = [row["arms"][n] for n in names]
        times = [f"{a['ms']:.2f}" + (f" (×{a['ratio']:.2f})" if i else "")
                 for i, a in enumerate(arms)]  # fmt: skip
        lines.append([str(row["size"]), *times, *(f"{a['peak_bytes'] / MIB:.2f}" for a in arms)])
    ends = {"growth": ""}
    if table["one_patch"]:
        ends["above N = 1"] = "_above_one"
    for label, end in ends.items():
        cells = [table["growth"][n][key + end] for key in ("ms", "peak_bytes") for n in names]
        lines.append(
            [label, *("–" if c is None else f"{c:.2f}".replace("-0.00", "0.00") for c in cells)]
        )
    rule = ["---", *("---:" for _ in lines[0][1:])]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in [lines[0], rule, *lines[1:]])
    return f"**{table['title']}, against {letter}** ({fixed})\n\n{body}"


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["sparse"]:
        from . import sparse

        return sparse.main(arguments[1:])
    made = parser("cost", __doc__)
    shape = made.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="One JSON object instead of tables.")
    shape.add_argument(
        "--markdown", nargs="?", const="", metavar="PAGE",
        help="Only the tables; with PAGE, in place of those between its two markers.",
    )  # fmt: skip
    made.add_argument("--quick", action="store_true", help="Two sizes a table, one round.")
    made.add_argument("--rounds", type=int, default=ROUNDS, help="Rounds (default: 7).")
    made.add_argument("--threads", type=int, default=THREADS, help="Threads (default: 1).")
    options = made.parse_args(arguments)
    if options.rounds < 1 or options.threads < 1:
        made.error("--rounds and --threads must be at least 1.")
    if options.markdown:
        _split_page(Path(options.markdown), made)  # fail before the minutes of measuring
    result = report(options.quick, options.rounds, options.threads)
    if options.json:
        print_json(result)
    elif options.markdown:
        page = Path(options.markdown)
        before, after = _split_page(page, made)
        text = f"{before}{BEGIN}\n{markdown(result)}{END}{after}"
        page.write_text(text, encoding="utf-8")
        print(f"The tables in {page} are new.")
    else:
        print(markdown(result), end="")
    return 0


def _split_page(page: Path, made: argparse.ArgumentParser) -> tuple[str, str]:
    """What stands before and after the tables of a page."""
    try:
        text = page.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        return before, rest.split(END)[1]
    except OSError as error:
        made.error(f"{page} cannot be read: {error}.")
    except (ValueError, IndexError):
        made.error(f"{page} needs the lines {BEGIN} and {END}, once each.")
