"""The controls of the Caption tab, folded away, and what they mean to the captioner."""

from __future__ import annotations

from typing import Any

import gradio as gr

from captioner.captioner import Captioner
from captioner.errors import CaptionerError
from captioner.request import Request
from captioner.settings import checked

from .models import Models

BEAM, SAMPLE = "Search for the best", "Draw at random"


def settings(models: Models) -> list[gr.components.Component]:
    """The controls, in the order of `read`'s arguments."""
    base = models.get().model.search
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
    """The controls as options of `CaptionService.caption`."""
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


def model_and_request(models: Models, options: object) -> tuple[Captioner, Request]:
    """The model and the request that options from outside amount to. Raises CaptionerError,
    ModelError."""
    chosen = dict(options) if isinstance(options, dict) else options
    name = chosen.pop("model", None) if isinstance(chosen, dict) else None
    if name is not None and not isinstance(name, str):
        raise CaptionerError("`model` is the name of a model.")
    request = checked(Request, chosen)
    captioner = models.get(name)
    captioner.search(request)  # what makes no sense is told before the photo is read
    return captioner, request
