"""What the page's scripts ask the server, and what they get: JSON objects both ways.

Questions come from a browser and may be forged: what is in one is read by the functions below.
Answers are typed, and the scripts in static/ rely on their fields.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NotRequired, TypedDict, TypeVar

from captioner.errors import CaptionerError, SettingError
from captioner.request import Request

from .settings import labels

T = TypeVar("T")
Question = Mapping[str, object]


class Failure(TypedDict):
    """A sentence for the person."""

    error: str


class Picture(TypedDict):
    """src: the picture itself, as a `data:` address."""

    src: str


class Download(TypedDict):
    """name: of the file. src: what is in it, as a `data:` address."""

    name: str
    src: str


class WordAnswer(TypedDict):
    """thumb: a small picture of the photo under the word's heat; "" without heatmaps. given:
    whether the person gave the word and the model did not choose it. doubtful: whether it names a
    thing that may well not be there."""

    text: str
    probability: float | None
    given: bool
    doubtful: bool
    thumb: str


class CaptionAnswer(TypedDict):
    """unseen: whether the model has not seen all of the photo. first: the word to show first. own:
    whether the words are the person's own. model, layers, heatmaps: as of a photo, where another
    model wrote the caption."""

    text: str
    confidence: float | None
    unseen: bool
    first: int
    words: list[WordAnswer]
    own: NotRequired[bool]
    model: NotRequired[str]
    layers: NotRequired[list[str]]
    heatmaps: NotRequired[list[str]]


class AddedCaption(TypedDict):
    """One more caption of a photo. rank: where it stands among the photo's captions."""

    rank: int
    caption: CaptionAnswer


class Compared(TypedDict):
    """What the other models say of a photo."""

    captions: list[AddedCaption]


class PhotoAnswer(TypedDict):
    """A photo that was captioned. id: for questions about its pictures. captions: best first.
    width, height: of the photo as it came, in pixels. heatmaps: the kinds of them that the model
    has. blank: it is a picture without content."""

    id: str
    name: str
    model: str
    seconds: float
    width: int
    height: int
    layers: list[str]
    heatmaps: list[str]
    sampled: bool
    blank: bool
    captions: list[CaptionAnswer]


class Superseded(TypedDict):
    """The same page has asked for another photo since: this one was not captioned."""

    superseded: Literal[True]


class Place(TypedDict):
    """before: how many photos are captioned before this page's."""

    before: int


class Thumbs(TypedDict):
    """A small picture of the heat of every word of a caption."""

    thumbs: list[str]


class Heads(TypedDict):
    """A small picture of the heat of every head of a layer, and of their average."""

    heads: list[str]
    average: str


class Row(TypedDict):
    """What became of one photo of a folder: a caption, or an error. edited: whether a person wrote
    it, which has no confidence."""

    file: str
    caption: NotRequired[str]
    confidence: NotRequired[float | None]
    edited: NotRequired[bool]
    error: NotRequired[str]


State = Literal["waiting", "running", "done", "stopped", "failed"]
WhyGone = Literal["", "restarted", "crowded"]
"""Why the photos of a folder are not held any more: the server was started anew, or others came."""


class Started(TypedDict):
    """id: of the folder's job."""

    id: str


class Progress(TypedDict):
    """How far a folder is. rows: of the photos that are done, from the one that was asked for.
    before: how many folders are captioned before this one. gone: why only the captions are still
    there; "" while the photos are, too."""

    state: State
    total: int
    rows: list[Row]
    seconds: float
    before: int
    gone: WhyGone


class Sheets(TypedDict):
    """How far the zip with sheets is. path: where it can be fetched from, once it is done."""

    state: State
    done: int
    total: int
    before: int
    path: str


def index(question: Question, name: str, count: int, what: str) -> int:
    """The question's number of that name, from 0 to count - 1. Raises CaptionerError, which says
    what there is not."""
    value = question.get(name)
    if not isinstance(value, int) or not 0 <= value < count:
        raise CaptionerError(f"There is no {what} {value!r}.")
    return value


def text(question: Question, name: str) -> str:
    """The question's text of that name; "" where there is none."""
    value = question.get(name)
    return value if isinstance(value, str) else ""


def or_error(work: Callable[[], T]) -> T | Failure:
    """What the work gives, or the sentence of its CaptionerError; settings are called what their
    controls are called."""
    try:
        return work()
    except SettingError as error:
        return {"error": error.with_names(labels(Request))}
    except CaptionerError as error:
        return {"error": str(error)}
