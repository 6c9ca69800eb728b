"""Names of the hub, against a stub of its interface on the loopback that huggingface_hub itself
talks to; and checkpoints that have pickles only."""

import hashlib
import http.server
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from captioner.captioner import load
from captioner.errors import ModelError
from captioner.hub import convert

from ..conftest import ROOT
from .checkpoints import photos

COMMIT, OLD = "c" * 40, "a" * 40
TOKEN = "hf_secret0123"


class Hub(http.server.ThreadingHTTPServer):
    """owner/model: the files of a folder; owner/gated wants the token; all else is unknown."""

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.asked: list[tuple[str, str]] = []
        self.weights_sent = 0
        self.busy = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:  # large files come from another host
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, self.path.split("?")[0]
        hub.asked.append((self.command, path))
        token = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if path.startswith("/cdn/"):
            data = hub.files[path.removeprefix("/cdn/")]
            if found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                data = data[int(found[1]) : int(found[2]) + 1]
            hub.weights_sent += len(data)
            return self.answer(206 if found else 200, data)
        repo = "/".join(path.removeprefix("/api/models/").strip("/").split("/")[:2])
        if repo == "owner/gated" and not token:
            return self.fail(403, "GatedRepo")
        if repo == "owner/busy":
            return self.answer(429, b"{}", {"Retry-After": "1"})
        if repo not in ("owner/model", "owner/gated"):
            return self.fail(404 if token else 401, "RepoNotFound")
        commit = {"old": OLD}.get(path.split("/revision/")[-1], COMMIT)
        if "/revision/" in path and path.split("/revision/")[-1] not in (
            "old",
            "main",
            COMMIT,
            OLD,
        ):
            return self.fail(404, "RevisionNotFound")
        if "/resolve/" in path:
            name = path.split("/")[-1]
            data = hub.files[name]
            etag = hashlib.sha256(data).hexdigest()
            about = {"X-Repo-Commit": path.split("/resolve/")[1].split("/")[0], "ETag": f'"{etag}"'}
            if name.endswith(".safetensors"):  # as large files are: elsewhere
                about |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data)),
                          "Location": f"http://localhost:{hub.server_port}/cdn/{name}"}  # fmt: skip
                return self.answer(302, b"", about)
            return self.answer(200, data, about)
        if "/tree/" in path:
            files = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in hub.files.items()
            ]
            return self.answer(200, json.dumps(files).encode())
        siblings = [{"rfilename": name} for name in hub.files]
        info = {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings}
        return self.answer(200, json.dumps(info).encode())

    def fail(self, status: int, code: str) -> None:
        self.answer(status, b'{"error": "no"}', {"X-Error-Code": code, "X-Error-Message": "no"})

    def answer(self, status: int, data: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture(scope="module")
def hub(made) -> Iterator[Hub]:
    made = Hub(made("blip", 0))
    yield made
    made.shutdown()
    made.server_close()


SCRIPT = """
import json, sys, time
from captioner.errors import CaptionerError
from captioner.hub.locate import locate
for name, revision in json.loads(sys.argv[1]):
    began = time.monotonic()
    try:
        found = locate(name, revision)
        said = [found.kind, found.revision, sorted(path.name for path in found.folder.iterdir())]
    except CaptionerError as error:
        said = str(error)
    print(json.dumps([said, time.monotonic() - began]))
"""


def asked(names: list[Any], cache: Path, endpoint: str, **more: str) -> list[Any]:
    """What is found of (name, revision)s by a process with such an environment."""
    told = in_process([SCRIPT, json.dumps(names)], cache, endpoint, **more)
    return [json.loads(line) for line in told.splitlines()]


def in_process(script: list[str], cache: Path, endpoint: str, **more: str) -> str:
    """What a script prints in a process with such an environment."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1", **more,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", *script], env=environment, text=True, stdout=subprocess.PIPE,
        check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
def test_names_revisions_tokens_and_the_cache(hub, tmp_path):
    names = [("owner/model", None), ("owner/model", "old"), ("owner/model", "none"),
             ("owner/other", None), ("owner/gated", None), ("owner/busy", None)]  # fmt: skip
    whole, old, none, other, gated, busy = asked(names, tmp_path, hub.url)
    files = sorted(name for name in hub.files)
    assert whole[0] == ["blip", COMMIT, files] and old[0] == ["blip", OLD, files]
    assert none[0] == "There is no folder owner/model. owner/model has no revision none."
    assert "no model owner/other" in other[0] and "accept its licence" in gated[0]
    assert "cannot be asked" in busy[0]
    assert max(seconds for _, seconds in (none, other, gated)) < 3
    [gated] = asked([("owner/gated", None)], tmp_path, hub.url, HF_TOKEN=TOKEN)
    assert gated[0][:2] == ["blip", COMMIT] and TOKEN not in str(gated)
    before = len(hub.asked)
    offline = asked(
        [("owner/model", None), ("owner/other", None)], tmp_path, hub.url, HF_HUB_OFFLINE="1"
    )
    assert len(hub.asked) == before
    assert offline[0][0] == whole[0] and "cannot be asked" in offline[1][0]
    nowhere = "http://127.0.0.1:9"
    without = asked([("owner/model", None), ("owner/other", None)], tmp_path, nowhere)
    assert without[0][0] == whole[0] and "cannot be asked" in without[1][0]
    # An address that never answers.
    silent = asked([("owner/other", None)], tmp_path, "http://10.255.255.1")
    assert "cannot be asked" in silent[0][0]
    assert max(seconds for _, seconds in (*offline, *without, *silent)) < 3


LARGE = """
import torch
from captioner.errors import CaptionerError
from captioner.hub import families
families.free_memory = lambda device: 1000
try:
    families.load_hub("owner/model", device=torch.device("cpu"), dtype=torch.float32)
except CaptionerError as error:
    print(error)
"""


@pytest.mark.slow
def test_what_is_too_large_is_refused_before_its_weights_are_downloaded(hub, tmp_path):
    before, file = hub.weights_sent, hub.files["model.safetensors"]
    done = in_process([LARGE], tmp_path, hub.url)
    assert re.search(r"owner/model needs \d+\.\d GB .* has 0\.0 GB free", done)
    assert 0 < hub.weights_sent - before <= 100_001 < len(file)  # its header
    assert not list(tmp_path.rglob("*.safetensors")) and list(tmp_path.rglob("config.json"))
    # Its texts are here now, which is not enough without the hub.
    [offline] = asked([("owner/model", None)], tmp_path, hub.url, HF_HUB_OFFLINE="1")
    assert "it is not in the hub's cache" in offline[0]


@pytest.fixture
def pickled(made, tmp_path) -> Path:
    folder = tmp_path / "pickled"
    shutil.copytree(made("blip", 0), folder)
    state = load_file(folder / "model.safetensors")
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.slow
def test_a_checkpoint_of_pickles_is_refused_and_converted(made, loaded, pickled):
    with pytest.raises(ModelError, match=f"captioner models --convert {pickled}"):
        load(pickled)
    assert convert.convert(str(pickled)) == pickled
    image = photos(1)[0]
    one, other = (m.caption(image, beams=2) for m in (load(pickled), loaded("blip", 0)))
    assert one.text == other.text and one.score == other.score
    with pytest.raises(ModelError, match="has safetensors already"):
        convert.convert(str(pickled))


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, (str(EVIDENCE),)


EVIDENCE = Path("/tmp/never-made-by-a-pickle")


@pytest.mark.slow
def test_no_code_of_a_pickle_is_run(pickled):
    torch.save({"weight": Evil()}, pickled / "pytorch_model.bin", pickle_module=pickle)
    with pytest.raises(ModelError, match="holds more than weights"):
        convert.convert(str(pickled))
    assert not EVIDENCE.exists() and not list(pickled.glob("*.safetensors"))


def test_the_list_of_models(capsys, tmp_path, monkeypatch):
    from huggingface_hub import constants

    from captioner.hub.command import known_models, models

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    here = tmp_path / "models--microsoft--git-base-coco"
    (here / "snapshots" / COMMIT).mkdir(parents=True)
    (here / "refs").mkdir()
    (here / "refs" / "main").write_text(COMMIT)
    (here / "snapshots" / COMMIT / "config.json").write_text("{}")
    assert not any(model["here"] for model in known_models())  # without its weights
    (here / "snapshots" / COMMIT / "model.safetensors").write_text("")
    assert [m["name"] for m in known_models() if m["here"]] == ["microsoft/git-base-coco"]
    models(None, as_json=False)
    told = capsys.readouterr().out
    assert "Salesforce/blip-image-captioning-base" in told and "133.3" in told
    documented = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8").splitlines()
    for model in known_models():
        assert {"name", "family", "parameters", "license", "here"} <= model.keys()
        assert ("cider" in model) == ("source" in model)
        if settings := model.get("settings"):
            cider = f"{model['cider']:g}" if "cider" in model else "none published"
            row = f"| {model['name']} | `{settings}` | {cider} | {model.get('source', '')}"
            assert f"{row.rstrip()} |" in documented
