"""Put a trained model into the package, with its scores.

    python -m train release runs/builtin/best --name captioner-lite2 --version 1 \\
        --trained-on "Flickr8k train (6,000 photos), ..." \\
        --scores "Flickr8k validation" runs/eval-flickr8k/scores.json --card card.md

With `--ensemble FOLDER SHARE` the model is put there together with another one; each is first made
ready by this same command, with its own temperature and `--out`.

The card is a text with places such as {Flickr8k validation/CIDEr-D}, which the scores fill.
"""

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

from captioner.captioner import BUILTIN
from captioner.ensemble import Ensemble, load_model
from captioner.errors import DataError, ModelError
from captioner.exits import run
from captioner.model import FILES, CaptionModel, OwnModel, read_config
from captioner.outputs import Guard
from captioner.weights import STORED

from .build import temper

SAVED = (*FILES, "MODEL_CARD.md")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train release",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--trained-on", required=True)
    parser.add_argument("--scores", nargs=2, action="append", default=[], metavar=("DATA", "FILE"))
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument(
        "--confidence", type=Path, metavar="FILE",
        help="the scores.json of a validation set: the temperature that it found for captions' "
        "confidence is stored with the model, and changes no caption",
    )  # fmt: skip
    parser.add_argument(
        "--doubtful-below", metavar="P",
        help="mark things that the model names with a probability below P as doubtful",
    )  # fmt: skip
    parser.add_argument(
        "--temperature", type=float, default=1.0, metavar="T",
        help="divide the logits by T: self-critical training leaves a model surer than it is right",
    )  # fmt: skip
    parser.add_argument(
        "--average", nargs=2, metavar=("FOLDER", "SHARE"),
        help="average the weights with those of the model it was trained on from, SHARE of them "
        "(WiSE-FT, Wortsman et al. 2022)",
    )  # fmt: skip
    parser.add_argument(
        "--ensemble", nargs=2, action="append", default=[], metavar=("FOLDER", "SHARE"),
        help="let the model in FOLDER write with it, SHARE of what they say being its own; may be "
        "repeated",
    )  # fmt: skip
    parser.add_argument(
        "--member", type=int, metavar="N", help="MODEL is an ensemble: take its Nth model"
    )
    parser.add_argument(
        "--weights", choices=STORED, help="how to store the weights; default: as they were"
    )
    parser.add_argument("--out", type=Path, default=BUILTIN)
    options = parser.parse_args(arguments)
    return run(lambda: _release(options))


def _release(options: argparse.Namespace) -> None:
    scores = {data: _scores(Path(file)) for data, file in options.scores}
    measured = {
        "confidence_temperature": options.confidence and _confidence(options.confidence),
        "doubtful_below": options.doubtful_below
        and _share("--doubtful-below", options.doubtful_below),
    }
    if not options.temperature > 0:
        raise DataError("--temperature must be above 0.")
    _check_out(options)
    if options.member is None:
        first = CaptionModel.load(options.model)
    else:
        first = member(options.model, options.member)
    if options.average:
        average(first, *options.average)
    temper(first, options.temperature)
    model = together(first, options.ensemble)
    about = {
        "name": options.name,
        "version": options.version,
        "trained_on": options.trained_on,
        "scores": scores,
        **{name: value for name, value in measured.items() if value is not None},
    }
    weights = options.weights or model.config.weights
    model.config = dataclasses.replace(model.config, about=about, weights=weights)
    try:
        card = options.card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The card {options.card} cannot be read: {error}.") from error
    model.save(options.out, card=_fill(card, scores))


def _check_out(options: argparse.Namespace) -> None:
    """Raises CaptionerError where the model would replace one that is read, or other files."""
    models = [options.model, *(Path(folder) for folder, _ in options.ensemble)]
    models += [Path(options.average[0])] if options.average else []
    read = [path / name for path in models for name in SAVED]
    read += [options.confidence] if options.confidence else []
    guard = Guard([*read, options.card, *(file for _, file in options.scores)])
    for name in SAVED:
        guard.check_each(options.out / name, "--out", lambda path: _is_model(path.parent))


def _is_model(folder: Path) -> bool:
    """Whether a folder holds a model of ours, which a newer one may replace."""
    try:
        read_config(folder)
    except ModelError:
        return False
    return True


def average(model: CaptionModel, folder: str, share: str) -> None:
    """Make `share` of the model's weights those of the model in `folder`, of the same sizes."""
    part = _share("--average", share)
    other = CaptionModel.load(Path(folder)).state_dict()
    own = model.state_dict()
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in other.items()}:
        raise DataError(f"The model in {folder} has other sizes: they cannot be averaged.")
    model.load_state_dict({k: v.lerp(other[k], part) for k, v in own.items()})


def member(folder: Path, number: int) -> CaptionModel:
    """The ensemble's model of that number, from 1."""
    ensemble = load_model(folder)
    if not isinstance(ensemble, Ensemble) or not 1 <= number <= len(ensemble.each):
        raise DataError(f"{folder} has no model {number}: --member takes one of an ensemble's.")
    return ensemble.each[number - 1]


def together(first: CaptionModel, others: Sequence[tuple[str, str]]) -> OwnModel:
    """The model, or the ensemble of it and the models in the folders of `others`, with shares."""
    if not others:
        return first
    shares = [_share("--ensemble", share) for _, share in others]
    if not sum(shares) < 1:
        raise DataError("--ensemble: the shares leave nothing for the first model.")
    models = [first, *(CaptionModel.load(Path(folder)) for folder, _ in others)]
    return Ensemble.of(models, [round(1 - sum(shares), 6), *shares])


def _share(option: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise DataError(f"{option} takes a share of 0 to 1, not {text!r}.")
    return share


def _scores(path: Path) -> dict[str, float]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: round(metric["value"], 3) for name, metric in content["metrics"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} does not hold scores as `python -m eval coco` writes them: {error}."
        ) from error


def _confidence(path: Path) -> float:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return float(content["confidence"]["calibration"]["temperature"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} has no temperature of confidence as `python -m eval coco` finds it: {error}."
        ) from error


def _fill(card: str, scores: dict[str, dict[str, float]]) -> str:
    def value(match: re.Match[str]) -> str:
        data, _, metric = match.group(1).rpartition("/")
        try:
            return f"{scores[data][metric]:.3f}"
        except KeyError:
            raise DataError(f"The card asks for {match.group(1)!r}, which was not given.") from None

    return re.sub(r"\{([^{}\n]+/[^{}\n]+)\}", value, card)
