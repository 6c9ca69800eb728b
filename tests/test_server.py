"""A model behind the OpenAI chat interface: a stub on the loopback that is slow, busy, broken."""

import base64
import http.server
import io
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captioner import server
from captioner.batch.engine import EngineConfig
from captioner.batch.local_engine import LocalEngine
from captioner.captioner import load
from captioner.errors import ModelError, SettingError
from eval import coco

from .commands import run, start

KEY = "sk-secret-0123"
Behave = Callable[[int, str], tuple[int, dict[str, str], Any] | None]


class Stub(http.server.ThreadingHTTPServer):
    """Writes of each photo its colour, token by token. `behave(attempt, colour)` may answer in its
    place: (status, headers, content), or None to cut the connection; `delay` is slept before."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave: Behave = lambda attempt, colour: self.caption(colour)
        self.delay = 0.0
        self.logprobs = True
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.attempts: Counter[str] = Counter()
        self.now, self.most = 0, 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def caption(self, colour: str) -> tuple[int, dict[str, str], Any]:
        tokens = ["a", " photo", " of", f" {colour[:3]}", colour[3:]]
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": "".join(tokens)}}
        if self.logprobs:
            choice["logprobs"] = {"content": [
                {"token": t, "logprob": -0.1 * (i + 1), "bytes": list(t.encode())}
                for i, t in enumerate(tokens)
            ]}  # fmt: skip
        return 200, {}, {"choices": [choice]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(200, {}, {"data": [{"id": "seer"}]})

    def do_POST(self) -> None:
        stub = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with stub.lock:
            stub.now += 1
            stub.most = max(stub.most, stub.now)
            stub.asked.append(body)
            stub.keys.add(self.headers.get("Authorization", ""))
        [part, _] = body["messages"][0]["content"]
        jpeg = base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
        pixel = Image.open(io.BytesIO(jpeg)).getpixel((9, 9))
        colour = bytes(value // 16 * 16 for value in pixel).hex()
        with stub.lock:
            stub.attempts[colour] += 1
            attempt = stub.attempts[colour]
        time.sleep(stub.delay)
        answer = stub.behave(attempt, colour)
        with stub.lock:
            stub.now -= 1
        if answer is None:
            self.close_connection = True
            return
        self.answer(*answer)

    def answer(self, status: int, headers: dict[str, str], content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def stub(monkeypatch) -> Iterator[Stub]:
    monkeypatch.setenv(server.KEY, KEY)
    made = Stub()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def quick(monkeypatch) -> list[float]:
    """Pauses are noted, not slept."""
    pauses: list[float] = []
    monkeypatch.setattr(server.time, "sleep", pauses.append)
    return pauses


def photos(folder: Path, count: int) -> list[Path]:
    paths = []
    for i in range(count):
        colour = (i % 16 * 16 + 8, i // 16 * 16 + 8, 136)
        paths.append(folder / f"{i:03}.png")
        image = Image.new("RGB", (64, 32), colour)
        image.paste(Image.effect_noise((32, 32), 90), (32, 0))  # a plain picture is called blank
        image.save(paths[-1])
    return paths


def test_words_have_the_probabilities_that_the_server_sends(stub, tmp_path):
    [photo] = photos(tmp_path, 1)
    model = load("seer", server=stub.url)
    caption = model.caption(photo)
    assert caption.text == "A photo of 000080."
    assert [w.text for w in caption.words] == ["A", "photo", "of", "000080"]
    assert [w.probability for w in caption.words] == pytest.approx(
        [0.9048, 0.8187, 0.7408, 0.4066], abs=1e-4
    )
    assert caption.words[0].heatmap is None and caption.maps == ""
    assert stub.keys == {f"Bearer {KEY}"}
    [body] = stub.asked
    assert body["model"] == "seer" and body["temperature"] == 0 and body["max_tokens"] == 128
    assert body["messages"][0]["content"][1]["text"].startswith("Describe this photo")
    model.caption(photo, style="keywords", sample=True, temperature=0.7, seed=3, max_length=9)
    body = stub.asked[-1]
    assert "keywords" in body["messages"][0]["content"][1]["text"]
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.7, 3, 9)


def test_without_log_probabilities_none_are_made_up(stub, tmp_path):
    [photo] = photos(tmp_path, 1)
    refusing = {"error": {"message": "logprobs are not supported"}}
    stub.logprobs = False
    stub.behave = lambda attempt, colour: (
        (400, {}, refusing) if "logprobs" in stub.asked[-1] else stub.caption(colour)
    )
    content = load(None, server=stub.url).caption(photo).to_dict()
    assert content["caption"] == "A photo of 000080." and content["confidence"] is None
    assert content["words"][0] == {"text": "A", "probability": None}


def test_what_passes_is_tried_again(stub, quick, tmp_path):
    paths = photos(tmp_path, 4)
    troubles = [
        (429, {"Retry-After": "7"}, {}),
        (500, {}, {}),
        None,
        (503, {"Retry-After": "999"}, {}),
    ]
    stub.behave = lambda attempt, colour: (
        troubles[attempt - 1] if attempt <= len(troubles) else stub.caption(colour)
    )
    captions = load("seer", server=stub.url).caption(paths)
    assert [c.text for c in captions] == [f"A photo of {i}00080." for i in range(4)]
    assert set(stub.attempts.values()) == {5}
    assert sum(pause == 7 for pause in quick) == 4  # as asked
    assert max(quick) == server.LONGEST_PAUSE


def test_a_server_that_stays_broken_is_told_without_the_key(stub, quick, tmp_path):
    [photo] = photos(tmp_path, 1)
    stub.behave = lambda attempt, colour: (500, {}, {"error": {"message": f"bad {KEY}"}})
    with pytest.raises(server.CaptionerError, match=r"answers 500: bad \*\*\*\..* continues"):
        load("seer", server=stub.url).caption(photo)
    assert stub.attempts["000080"] == server.TRIES


@pytest.mark.slow
def test_a_refused_photo_costs_no_other_its_caption(stub, tmp_path):
    photos(tmp_path, 5)
    stub.behave = lambda attempt, colour: (
        (400, {}, {"error": {"message": "image policy"}})
        if colour == "200080"
        else stub.caption(colour)
    )
    done = run("caption", tmp_path, "--server", stub.url, "--model", "seer", "--json")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["caption"][-7:-1] for line in lines] == ["000080", "100080", "300080", "400080"]
    assert "002.png was refused by" in done.stderr and "image policy" in done.stderr
    assert all(count == 1 for colour, count in stub.attempts.items() if colour != "200080")


@pytest.mark.slow
def test_a_job_that_is_killed_continues_and_its_bytes_are_the_same(stub, tmp_path):
    (tmp_path / "photos").mkdir()
    photos(tmp_path / "photos", 60)
    stub.delay = 0.1
    job = (
        "caption",
        tmp_path / "photos",
        "--server",
        stub.url,
        "--model",
        "seer",
        "--ordered",
        "-q",
    )
    assert run(*job, "-o", tmp_path / "whole.jsonl").returncode == 0
    assert stub.most > 8  # many requests are under way at a time
    torn = tmp_path / "torn.jsonl"
    stub.delay, killed = 0.3, start(*job, "-o", torn, "--batch-size", "4")
    while not torn.exists() or torn.read_bytes().count(b"\n") < 8:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    before = torn.read_bytes()
    assert 0 < before.count(b"\n") < 60
    stub.delay = 0.0
    assert run(*job, "-o", torn, "--batch-size", "4").returncode == 0
    assert torn.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    with LocalEngine(EngineConfig(model="seer", server=stub.url)) as engine:
        assert engine.settings["server"] == stub.url and KEY not in str(engine.settings)


def test_a_server_or_a_model_that_is_not_there_is_told_at_once(stub):
    began = time.monotonic()
    with pytest.raises(ModelError, match="cannot be reached"):
        load("seer", server="http://127.0.0.1:9/v1")
    with pytest.raises(ModelError, match="has no model blind; give --model: seer"):
        load("blind", server=stub.url)
    assert time.monotonic() - began < 3
    for wrong in ("localhost:8000", "http://me:key@localhost/v1", "http://localhost/v1?key=1"):
        with pytest.raises(ModelError, match="--server wants"):
            load("seer", server=wrong)


def test_what_the_chat_interface_does_not_know_is_refused(stub, tmp_path):
    model = load("seer", server=stub.url)
    for settings in ({"beams": 3}, {"prefix": "A dog"}, {"without": "cat"}, {"no_repeat": 2}):
        with pytest.raises(SettingError, match=f"knows no {next(iter(settings))}"):
            model.caption(tmp_path / "none.jpg", **settings)


@pytest.mark.slow
def test_a_model_behind_a_server_is_scored_on_a_caption_set(stub, tmp_path, capsys):
    paths = photos(tmp_path, 3)
    annotations = {
        "images": [{"id": i, "file_name": path.name} for i, path in enumerate(paths)],
        "annotations": [
            {"id": i, "image_id": i, "caption": f"a photo of {i}00080"} for i in range(3)
        ],
    }
    (tmp_path / "captions.json").write_text(json.dumps(annotations))
    asked = [
        "--images", str(tmp_path), "--annotations", str(tmp_path / "captions.json"), "--model",
        "seer", "--server", stub.url, "--bootstrap", "10", "--prompt", "What is it?",
    ]  # fmt: skip
    assert not coco.main([*asked, "--out", str(tmp_path / "out")])
    assert "CIDEr-D" in capsys.readouterr().out
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["metrics"]["BLEU-4"]["value"] == pytest.approx(1.0)
    assert scores["settings"]["server"] == stub.url and not scores["settings"]["weights_sha256"]
    assert stub.asked[0]["messages"][0]["content"][1]["text"] == "What is it?"
    assert coco.main([*asked, "--out", str(tmp_path / "other"), "--device", "cpu"]) == 2
    assert "computes elsewhere" in capsys.readouterr().err
