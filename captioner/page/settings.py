"""The form of settings, made from the fields of `Request`, and the request that comes of it.

The form sends what a person changed as an object, {"beams": 5}: the same that programs send.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from captioner.captioner import Captioner
from captioner.errors import CaptionerError, SettingError
from captioner.generation import Search
from captioner.request import STYLES, Request
from captioner.settings import Known, checked, settings_of

from .models import Models

TRIED = {
    "prompt": "Describe it.", "style": STYLES[0], "beams": 2, "min_length": 1, "prefix": "a",
    "without": ("a",),
}  # fmt: skip
"""A value of each setting that some models have no use for."""
SLIDER = 100
"""Whole numbers of at most so many steps have a slider, others a field."""


@dataclass(frozen=True)
class Control:
    """One control of the form.

    kind: check, slider, number, text, or words (several, with commas or spaces between them).
    value: what stands there until it is changed.
    """

    name: str
    label: str
    help: str
    kind: str
    value: str
    least: str
    most: str
    whole: bool


def controls(
    kind: type, base: Search, without: Collection[str] = (), **shown: object
) -> list[Control]:
    """A control for every setting that has a label; what is not given is the model's own (`base`).

    without: settings that the models have no use for. shown: values that the page has in place of
    the defaults.
    """
    made = []
    for name, known in settings_of(kind).items():
        if known.about.label and name not in without:
            default = getattr(base, name, None) if known.default is None else known.default
            made.append(_control(known, shown.get(name, default)))
    return made


def _control(known: Known, value: object) -> Control:
    about = known.about
    whole = known.type is int
    if known.many:
        kind, value = "words", ""
    elif known.type is bool:
        kind, value = "check", "true" if value else ""
    elif known.type is str:
        kind = "text"
    else:
        kind = "slider" if whole and about.most - about.least <= SLIDER else "number"
        value = f"{value:.10g}"
    return Control(
        known.name, about.label, about.help, kind, str(value),
        f"{about.least:.17g}", f"{about.most:.17g}", whole,
    )  # fmt: skip


def useless(models: Models) -> list[str]:
    """The settings that the page's only model has no use for; none where there are several."""
    if len(models.names) > 1:
        return []
    refused = []
    for name, value in TRIED.items():
        try:
            models.get().model.check(Request().with_(**{name: value}))
        except SettingError:
            refused.append(name)
    return refused


def labels(kind: type) -> dict[str, str]:
    """What the form calls each setting, for sentences about them."""
    known = settings_of(kind)
    return {name: f"“{one.about.label}”" for name, one in known.items() if one.about.label}


def model_and_request(
    models: Models, options: object, others: int = 0
) -> tuple[Captioner, Request]:
    """The model and the request that options from outside amount to.

    others: alternatives to give where the options do not say how many, as far as the beams allow.

    Raises CaptionerError, ModelError.
    """
    chosen: object = {} if options is None else options
    name = None
    if isinstance(chosen, Mapping):
        name = chosen.get("model")
        chosen = {key: value for key, value in chosen.items() if key != "model"}
    if name is not None and not isinstance(name, str):
        raise CaptionerError("`model` is the name of a model.")
    request = checked(Request, chosen)
    captioner = models.get(name)
    if others and not (isinstance(options, Mapping) and "alternatives" in options):
        beams = request.beams or captioner.search(request).beams
        request = request.with_(alternatives=others if request.sample else min(others, beams - 1))
    captioner.search(request)  # what makes no sense is said before the photo is read
    return captioner, request
