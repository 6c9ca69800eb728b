"""A checkpoint's generation_config.json as our own settings of a search.

What the file leaves out, or repeats of the library's defaults (old files repeat them all), is the
family's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from captioner.errors import ModelError
from captioner.generation import Conventions, Hypothesis, Processor, Search, repeats

NAMES = {
    "num_beams": "beams",
    "length_penalty": "length_penalty",
    "no_repeat_ngram_size": "no_repeat",
    "do_sample": "sample",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "max_new_tokens": "max_length",
}
DEFAULTS = {
    "num_beams": 1, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "do_sample": False,
    "temperature": 1.0, "top_k": 50, "top_p": 1.0, "max_length": 20, "min_length": 0,
    "early_stopping": False,
}  # fmt: skip


def declared(config: Any, name: str) -> Any:
    """A setting of a generation config, or None where it is not one of the checkpoint's own."""
    value = getattr(config, name, None)
    return None if value == DEFAULTS.get(name) else value


def search_of(config: Any, default: Search) -> Search:
    """The search that a generation config asks for. Its lengths count the token that a caption
    begins with; ours do not."""
    changes = {ours: declared(config, theirs) for theirs, ours in NAMES.items()}
    for name in ("max_length", "min_length"):
        if changes.get(name) is None and (value := declared(config, name)):
            changes[name] = max(value - 1, 0)
    if declared(config, "early_stopping") == "never":
        changes["early_stop"] = False
    if changes.get("beams") is None and changes.get("sample"):
        changes["beams"] = 1
    longest = changes.get("max_length") or default.max_length
    if longest < default.min_length:
        changes.setdefault("min_length", longest)
    return default.with_(**changes)


def conventions_of(config: Any) -> Conventions:
    """Those of the library; and whether a search stops as soon as it has enough captions."""
    full = getattr(config, "early_stopping", None) is True
    return Conventions(cut=True, prefix_counts=False, stop_when_full=full)


def token(net: Any, *names: str) -> int:
    """The first of these token ids that a model's generation config or its text config gives; of
    several ends the first. Raises ModelError when there is none."""
    for name in names:
        for config in (net.generation_config, net.config, net.config.get_text_config(decoder=True)):
            value = getattr(config, name, None)
            if value is not None:
                return int(value[0] if isinstance(value, list) else value)
    raise ModelError(f"The checkpoint does not say its {names[0]}, without which it cannot write.")


def rules_of(config: Any, given: int, longest: int, eos: int) -> list[Processor]:
    """The tokens that a generation config forces or forbids. given: tokens of the prefix, longest:
    of the whole caption."""
    rules: list[Processor] = []
    if (first := getattr(config, "forced_bos_token_id", None)) is not None and not given:
        rules.append(_forced(lambda length: length == 0, first))
    if getattr(config, "forced_eos_token_id", None) is not None:
        rules.append(_forced(lambda length: length + 1 == longest, eos))
    if never := getattr(config, "suppress_tokens", None):
        rules.append(_banned(lambda length: True, never))
    if never := getattr(config, "begin_suppress_tokens", None):
        rules.append(_banned(lambda length: length == given, never))
    return rules


def unrepeated(before: Sequence[int], size: int) -> Processor:
    """No n-gram of this size is written that is in the text before, or begins in it: the library
    counts what it reads before a caption."""

    def rule(ids: Tensor, logits: Tensor) -> Tensor:
        for row, banned in enumerate(repeats([[*before, *row] for row in ids.tolist()], size)):
            logits[row, banned] = -torch.inf
        return logits

    return rule


def chosen(found: Hypothesis, config: Any, longest: int, prefix: Sequence[int]) -> Hypothesis:
    """A caption in which forced tokens have log-probability 0, as they were no choice."""
    logprobs = list(found.logprobs)
    if getattr(config, "forced_bos_token_id", None) is not None and not prefix:
        logprobs[0] = 0.0
    if getattr(config, "forced_eos_token_id", None) is not None and len(logprobs) == longest:
        logprobs[-1] = 0.0
    return replace(found, logprobs=tuple(logprobs))


def _forced(when: Callable[[int], bool], token: int) -> Processor:
    """At these lengths no other token is written, and this one is as good as certain."""

    def rule(ids: Tensor, logits: Tensor) -> Tensor:
        if not when(ids.shape[1]):
            return logits
        forced = torch.full_like(logits, -torch.inf)
        forced[:, token] = 0
        return forced

    return rule


def _banned(when: Callable[[int], bool], tokens: Sequence[int]) -> Processor:
    def rule(ids: Tensor, logits: Tensor) -> Tensor:
        if when(ids.shape[1]):
            logits[:, list(tokens)] = -torch.inf
        return logits

    return rule
