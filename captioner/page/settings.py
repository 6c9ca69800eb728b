"""The controls of the Caption tab, folded away, and what they mean to the captioner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from captioner.captioner import Captioner
from captioner.errors import CaptionerError
from captioner.generation import Search

from .models import Models

BEAM, SAMPLE = "Search for the best", "Draw at random"


def settings(models: Models) -> list[gr.components.Component]:
    """The controls, in the order of `read`'s arguments."""
    base = models.get().model.config.search
    with gr.Accordion("Settings", open=False, elem_id="c-settings"):
        with gr.Row():
            model = gr.Dropdown(
                models.names, value=models.names[0], label="Model", visible=len(models.names) > 1
            )
            way = gr.Radio([BEAM, SAMPLE], value=BEAM, label="How the words are chosen")
        with gr.Row():
            beams = gr.Slider(
                1, 10, value=base.beams, step=1, label="Beams",
                info="How many captions the search follows at a time.",
            )  # fmt: skip
            temperature = gr.Slider(
                0.1, 2, value=1.0, step=0.1, label="Temperature",
                info="For drawing: low is careful, high is bold.",
            )  # fmt: skip
            seed = gr.Number(
                0,
                precision=0,
                minimum=0,
                label="Seed",
                info="For drawing: another, another caption.",
            )
        with gr.Row():
            shortest = gr.Slider(1, 30, value=base.min_length, step=1, label="Shortest, in tokens")
            longest = gr.Slider(4, 60, value=base.max_length, step=1, label="Longest, in tokens")
            others = gr.Slider(
                0, 9, value=min(2, base.beams - 1), step=1, label="Other captions to show"
            )
        with gr.Row():
            prefix = gr.Textbox(
                "", label="The caption begins with", placeholder="Two people", max_length=200
            )
            without = gr.Textbox(
                "", label="Words to do without", placeholder="man, woman", max_length=200
            )
    return [model, way, beams, temperature, seed, shortest, longest, others, prefix, without]


def read(
    model: str,
    way: str,
    beams: float,
    temperature: float,
    seed: float | None,
    shortest: float,
    longest: float,
    others: float,
    prefix: str | None,
    without: str | None,
) -> dict[str, Any]:
    """The controls as options of `CaptionDesk.caption`."""
    drawn = {"sample": True, "temperature": temperature, "seed": int(seed or 0)}
    searched = {"beams": int(beams)}
    return {
        "model": model,
        "alternatives": int(others) if way == SAMPLE else min(int(others), int(beams) - 1),
        "min_length": int(shortest),
        "max_length": int(longest),
        "prefix": prefix or "",
        "without": [word for word in (without or "").replace(",", " ").split()],
        **(drawn if way == SAMPLE else searched),
    }


# What a stranger may ask of this machine: type, least and most.
BOUNDS: dict[str, tuple[type, float, float]] = {
    "beams": (int, 1, 10),
    "alternatives": (int, 0, 9),
    "length_penalty": (float, -5, 5),
    "min_length": (int, 0, 60),
    "max_length": (int, 1, 60),
    "no_repeat": (int, 0, 10),
    "sample": (bool, 0, 1),
    "temperature": (float, 0.01, 10),
    "top_k": (int, 0, 10_000),
    "top_p": (float, 0.01, 1),
    "seed": (int, 0, 2**53),
}
MAX_TEXT = 200


@dataclass(frozen=True)
class Order:
    """What a person asks for: a model and how it is to write."""

    captioner: Captioner
    search: Search
    prefix: str
    without: tuple[str, ...]


def order(models: Models, options: Any) -> Order:
    """The order that options from outside amount to. Raises CaptionerError, ModelError."""
    chosen = checked(options)
    captioner = models.get(chosen.pop("model", None))
    prefix, without = chosen.pop("prefix", ""), tuple(chosen.pop("without", ()))
    return Order(captioner, captioner.search(**chosen), prefix, without)


def checked(options: Any) -> dict[str, Any]:
    """Options from the other side of the net: known, of the right kind, within bounds.

    Raises CaptionerError, which names the option.
    """
    if not isinstance(options, dict):
        raise CaptionerError('Options are an object, such as {"beams": 5}.')
    good: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if name in BOUNDS:
            kind, low, high = BOUNDS[name]
            number = isinstance(value, (int, float)) and isinstance(value, bool) == (kind is bool)
            if not number or not low <= value <= high or kind(value) != value:
                shown = "true or false" if kind is bool else f"a number from {low:g} to {high:g}"
                raise CaptionerError(f"{name} is {shown}, not {value!r}.")
            value = kind(value)
        elif name in ("model", "prefix"):
            if not isinstance(value, str) or len(value) > MAX_TEXT:
                raise CaptionerError(f"{name} is a text of at most {MAX_TEXT} letters.")
        elif name == "without":
            if not isinstance(value, list) or not _are_words(value):
                raise CaptionerError("without is a list of at most 20 words.")
        else:
            raise CaptionerError(f"There is no option {name!r}.")
        good[name] = value
    return good


def _are_words(values: list[Any]) -> bool:
    return len(values) <= 20 and all(isinstance(v, str) and len(v) <= 50 for v in values)
