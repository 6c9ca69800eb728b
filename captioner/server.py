"""A model that runs elsewhere, behind a server with the OpenAI chat interface (vLLM, llama.cpp,
Ollama, LM Studio, and the services on the web): `--server http://localhost:8000/v1 --model NAME`.

It stands behind the same Captioner as any other model. Each photo is a request, and those of a
batch are under way at the same time; what passes, such as 429 and 503, is tried again. There are no
heatmaps, and the probability of a word is known only where the server sends log-probabilities: else
it is NaN. The key is OPENAI_API_KEY of the environment; it goes into the request's header and
nowhere else.
"""

from __future__ import annotations

import base64
import io
import math
import os
import random
import re
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import httpx
from PIL import Image
from torch import Tensor

from .attention import Combine, Placement
from .errors import CaptionerError, ModelError, PhotoError, SettingError
from .generation import Hypothesis, Processor, Search
from .hub.styles import prompt_of
from .photos import Photo
from .request import Request
from .retries import LONGEST_PAUSE, PASSING, retry_after
from .tokenizer import Vocabulary

KEY = "OPENAI_API_KEY"
TRIES = 6
SLOWEST = 300.0
"""Seconds that an answer may take."""
IN_FLIGHT = 64
"""Requests under way at a time, at most."""
MOST_PIXELS = 1536
"""Of a photo's longer side, as it is sent."""
UNUSED = (
    "length_penalty", "min_length", "no_repeat", "prefix", "without", "top_k", "explain",
)  # fmt: skip
"""Settings that the chat interface has no word for."""


class ServerVocabulary(Vocabulary):
    """The tokens that the server has sent, or words where it sends none, numbered as they come."""

    def __init__(self) -> None:
        self.token_bytes: list[bytes] = []
        self._ids: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def id(self, token: bytes) -> int:
        with self._lock:
            if token not in self._ids:
                self._ids[token] = len(self.token_bytes)
                self.token_bytes.append(token)
            return self._ids[token]

    def encode_prefix(self, prefix: str) -> list[int]:
        return [self.id(piece.encode()) for piece in re.findall(r"\s*\S+", prefix)]

    def encode(self, caption: str) -> list[int]:
        return self.encode_prefix(caption)


class ServerModel:
    """What `interface.Model` asks for; its memory is the requests that the photos make."""

    search = Search(beams=1, length_penalty=1.0, min_length=0, max_length=128)
    side = 768
    square = False
    maps = ""
    fades = False
    combine = Combine()

    def __init__(self, server: str, name: str | None):
        """Raises ModelError: there is no server at this address, or it has no such model."""
        self.tokenizer = ServerVocabulary()
        self.layers: list[str] = []
        self.url = _checked(server)
        self.key = os.environ.get(KEY, "")
        self.client = httpx.Client(
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            timeout=httpx.Timeout(SLOWEST, connect=3.0),
            limits=httpx.Limits(max_connections=IN_FLIGHT),
        )
        self.pool = ThreadPoolExecutor(IN_FLIGHT)
        self.with_logprobs = True
        self.answered: dict[str, list[Hypothesis]] = {}
        self.name = self._known(name)

    @property
    def about(self) -> dict[str, Any]:
        return {"name": self.name, "server": self.url}

    def check(self, request: Request) -> None:
        unused = [name for name in UNUSED if getattr(request, name)]
        if (request.beams or 1) > 1:
            unused.insert(0, "beams")
        if unused:
            raise SettingError(
                f"{self.name} runs on a server, and the chat interface knows no `{unused[0]}`."
            )
        prompt_of(request, "chat", self.name)

    def see(self, photos: Sequence[Photo], request: Request) -> list[tuple[str, dict[str, Any]]]:
        """Of each photo its name and the request, as yet without the search's settings."""
        prompt = prompt_of(request, "chat", self.name)
        seen = []
        for photo in photos:
            image = {"type": "image_url", "image_url": {"url": _data_uri(photo.image)}}
            content = [image, {"type": "text", "text": prompt}]
            body = {"model": self.name, "messages": [{"role": "user", "content": content}]}
            seen.append((photo.name, body))
        return seen

    def write(
        self,
        memory: list[tuple[str, dict[str, Any]]],
        search: Search | None = None,
        *,
        prefix: Sequence[int] = (),
        processors: Sequence[Processor] = (),
    ) -> list[list[Hypothesis]]:
        search = search or self.search
        asked: dict[str, Any] = {"max_tokens": search.max_length, "temperature": 0}
        if search.sample:
            asked |= {
                "temperature": search.temperature, "top_p": search.top_p, "seed": search.seed,
                "n": search.returned,
            }  # fmt: skip
        # All are waited for before the first that failed is told of, so that none is asked twice.
        running = [self.pool.submit(self._caption, name, body | asked) for name, body in memory]
        errors = [error for one in running if (error := one.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, PhotoError)):
            raise error
        return [one.result() for one in running]

    def part(self, memory: list[Any], photos: Sequence[int]) -> list[Any]:
        return [memory[i] for i in photos]

    def look(self, memory: Any, captions: Sequence[Sequence[int]]) -> Iterable[Tensor]:
        raise CaptionerError(f"{self.name} runs on a server, which gives no heatmaps.")

    def logprobs(self, memory: Any, captions: Sequence[Sequence[int]]) -> list[Tensor]:
        raise CaptionerError(f"{self.name} runs on a server, which explains no given sentence.")

    def faded(self, memory: Any, shown: Tensor) -> Any:
        raise NotImplementedError

    def placement(self, memory: Any, photo: int) -> Placement:
        return Placement(())

    # The server's answers.

    def _caption(self, photo: str, body: dict[str, Any]) -> list[Hypothesis]:
        """The captions of a photo. Raises PhotoError where the server refuses this photo, and
        CaptionerError when it cannot be reached."""
        # By its digest: the request holds the photo.
        known = sha256(str(body).encode()).hexdigest() if body["temperature"] == 0 else ""
        if known in self.answered:
            return self.answered[known]
        if self.with_logprobs:
            answer = self._ask("POST", "/chat/completions", body | {"logprobs": True})
            if answer.status_code in (400, 422) and "logprob" in answer.text.lower():
                self.with_logprobs = False  # it knows none
                answer = self._ask("POST", "/chat/completions", body)
        else:
            answer = self._ask("POST", "/chat/completions", body)
        if answer.status_code in (400, 413, 415, 422):
            raise PhotoError(f"{photo} was refused by {self.url}: {self._said(answer)}.")
        self._check(answer)
        try:
            found = [self._read(choice) for choice in answer.json()["choices"]]
        except (KeyError, TypeError, ValueError) as error:
            raise CaptionerError(
                f"{self.url} does not answer as the OpenAI chat interface has it."
            ) from error
        if known:
            if len(self.answered) >= 1000:
                self.answered.pop(next(iter(self.answered)), None)
            self.answered[known] = found
        return found

    def _read(self, choice: Any) -> Hypothesis:
        text = choice["message"]["content"] or ""
        text = re.sub(r"(?s)^\s*<think>.*?</think>", "", text).strip()
        tokens = (choice.get("logprobs") or {}).get("content") or []
        pieces = [
            bytes(t["bytes"]) if t.get("bytes") is not None else t["token"].encode() for t in tokens
        ]
        logprobs = [float(t["logprob"]) for t in tokens]
        if text and b"".join(pieces).decode(errors="replace").strip() == text:
            ids = tuple(self.tokenizer.id(piece) for piece in pieces)
        else:
            ids = tuple(self.tokenizer.encode_prefix(text))
            logprobs = [math.nan] * max(len(ids), 1)
        return Hypothesis(ids, tuple(logprobs), sum(logprobs) / len(logprobs))

    def _known(self, name: str | None) -> str:
        """The name, checked against those that the server lists; without one, the only one."""
        answer = self._ask("GET", "/models", tries=1)
        if answer.status_code in (401, 403):
            self._check(answer)
        try:
            names = [str(model["id"]) for model in answer.json()["data"]]
        except (KeyError, TypeError, ValueError):
            names = []  # it lists none
        if name and (not names or name in names):
            return name
        if not name and len(names) == 1:
            return names[0]
        what = f"has no model {name}" if name else "is to caption, but it is not said with what"
        raise ModelError(f"{self.url} {what}; give --model: {', '.join(names) or 'NAME'}.")

    def _check(self, answer: httpx.Response) -> None:
        if answer.status_code in (401, 403):
            what = "refuses the key in" if self.key else "wants a key, which is read from"
            raise ModelError(f"{self.url} {what} {KEY} ({answer.status_code}).")
        if not answer.is_success:
            raise CaptionerError(
                f"{self.url} answers {answer.status_code}: {self._said(answer)}. What has been "
                "written is safe; the same command continues."
            )

    def _said(self, answer: httpx.Response) -> str:
        """What the server says of an error, without the key."""
        try:
            error = answer.json()["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (KeyError, TypeError, ValueError):
            text = answer.text
        text = " ".join(text.split())[:200].rstrip(".")
        return text.replace(self.key, "***") if self.key else text

    def _ask(
        self, method: str, path: str, body: Any = None, *, tries: int = TRIES
    ) -> httpx.Response:
        """An answer, whatever its status, tried for again while a later try may help."""
        for attempt in range(1, tries + 1):
            pause = random.uniform(0.5, 1.0) * min(2.0**attempt / 2, LONGEST_PAUSE)
            try:
                answer = self.client.request(method, self.url + path, json=body)
            except httpx.HTTPError as error:
                if attempt == tries:
                    problem = str(error) or type(error).__name__
                    raise ModelError(
                        f"{self.url} cannot be reached: {problem}. What has been written is safe; "
                        "the same command continues."
                    ) from None  # what it came from holds the request
            else:
                if answer.status_code not in PASSING or attempt == tries:
                    return answer
                pause = max(pause, retry_after(answer.headers.get("Retry-After")))
            time.sleep(pause)
        raise AssertionError


def _checked(server: str) -> str:
    """The server's address, or ModelError. Keys in it would be written wherever it is."""
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL as error:
        raise ModelError(f"--server {server!r} is no address: {error}.") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ModelError("--server wants an address such as http://localhost:8000/v1.")
    if url.userinfo or url.query or url.fragment:
        raise ModelError(
            f"--server wants an address without a name, a key or a question mark; a key is read "
            f"from {KEY}."
        )
    return str(url).rstrip("/")


def _data_uri(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((MOST_PIXELS, MOST_PIXELS))
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode()
