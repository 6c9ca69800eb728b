"""Who is let in: the names of the server, other sites' pages, wrong passwords; and what uploads
leave behind."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="the page needs gradio: pip install -e '.[demo]'")

import httpx
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from captioner.page import accounts, sweep, upload_parser, uploads
from captioner.page.accounts import Accounts
from captioner.page.middleware import Guard, Hosts

from ..conftest import ROOT
from .conftest import run_apart, wait_until

# Names and origins --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "host", "allowed"),
    [
        ("127.0.0.1", "localhost:7860", True), ("127.0.0.1", "127.0.0.1:7860", True),
        ("127.0.0.1", "[::1]:7860", True), ("::1", "LocalHost.", True),
        ("127.0.0.1", "evil.example:7860", False), ("127.0.0.1", "192.168.0.7", False),
        ("127.0.0.1", "", False), ("127.0.0.1", "localhost.evil.example", False),
        ("127.0.0.1", "photos.example", True), ("127.0.0.1", "evil.example#localhost", False),
        ("127.0.0.1", "[", False), ("127.0.0.1", "me@evil.example", False),
        ("0.0.0.0", "192.168.0.7:7860", True), ("0.0.0.0", "evil.example", False),
        ("0.0.0.0", socket.gethostname(), True), ("0.0.0.0", f"{socket.gethostname()}.local", True),
        ("photos.lan", "photos.lan:80", True), ("photos.lan", "[fe80::1]:80", True),
    ],
)  # fmt: skip
def test_the_names_of_a_server(bound, host, allowed):
    assert Hosts(bound, ["photos.example"]).allow(host) is allowed


def test_a_public_address_is_allowed_once_it_is_known():
    hosts = Hosts("127.0.0.1")
    assert not hosts.allow("abc.gradio.live")
    hosts.add("https://abc.gradio.live/")
    assert hosts.allow("abc.gradio.live")


def ask(app, method, path="/", **options):
    async def one():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    return run_apart(one())


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000", "x"])
def test_the_pages_of_other_sites_may_ask_nothing(origin):
    app = Guard(PlainTextResponse("fine"), Hosts("127.0.0.1"))
    assert ask(app, "POST", headers={"Origin": origin}).status_code == 403
    assert ask(app, "GET", headers={"Origin": origin}).status_code == 403
    assert ask(app, "POST", headers={"Origin": "http://localhost"}).text == "fine"
    assert ask(app, "POST").text == "fine", "programs send no origin"


def test_what_browsers_are_told(server):
    found = httpx.get(server)
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    for rule in ("connect-src 'self'", "object-src 'none'", "base-uri", "frame-ancestors 'none'"):
        assert rule in found.headers["Content-Security-Policy"]


def test_the_server_refuses_other_names_and_other_sites(server):
    upload = {"files": {"files": ("a.jpg", b"1234")}}
    address = f"{server}gradio_api/upload"
    assert httpx.get(server, headers={"Host": "evil.example"}).status_code == 421
    assert httpx.get(server, headers={"Host": "photos.example"}).status_code == 200
    refused = httpx.post(address, **upload, headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert httpx.post(address, **upload, headers={"Host": "evil.example"}).status_code == 421
    assert httpx.post(address, **upload).status_code == 200


# Accounts -----------------------------------------------------------------------------------------


@pytest.fixture
def door(monkeypatch):
    """An app with an account; a wrong password takes a tenth of a second."""
    tried = []

    async def login(request):
        tried.append(request.query_params["password"])
        return PlainTextResponse("", 200 if tried[-1] == "right" else 400)

    app = Starlette(routes=[Route("/login", login, methods=["POST"])])
    app.auth = {"ann": "right"}
    app.tokens, app.cookie_id = {"t": "ann"}, "c"
    app.add_middleware(Accounts)
    monkeypatch.setattr(accounts, "SLOW", 0.1)
    return SimpleNamespace(app=app, tried=tried)


def test_wrong_passwords_are_slowed_down(door):
    async def many():
        transport = httpx.ASGITransport(door.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            tries = [client.post(f"/login?password={n}") for n in range(40)]
            return [answer.status_code for answer in await asyncio.gather(*tries)]

    began = time.monotonic()
    codes = run_apart(many())
    assert codes.count(400) == accounts.MAX_WAITING == len(door.tried)
    assert codes.count(429) == 40 - accounts.MAX_WAITING
    assert time.monotonic() - began >= 0.1 * accounts.MAX_WAITING
    began = time.monotonic()
    assert ask(door.app, "POST", "/login?password=right").status_code == 200
    assert time.monotonic() - began < 0.1, "the right one does not wait"


def test_logging_out_forgets_the_login_and_other_sites_cannot_do_it(door):
    cookie = {"Cookie": "access-token-unsecure-c=t"}
    assert ask(door.app, "GET", "/logout", headers=cookie).status_code == 405
    assert door.app.tokens
    answer = ask(door.app, "POST", "/logout", headers=cookie)
    assert answer.status_code == 204 and not door.app.tokens
    assert "access-token-unsecure-c=" in str(answer.headers.get_list("set-cookie"))


def test_the_login_page_stands_before_the_page_only(door):
    page = ask(door.app, "GET")
    assert page.status_code == 200 and "<title>Log in" in page.text
    assert ask(door.app, "GET", headers={"Cookie": "access-token-c=t"}).status_code == 404
    assert ask(door.app, "GET", headers={"Cookie": "access-token-c=x"}).status_code == 200
    assert ask(door.app, "GET", "/config").status_code == 404, "gradio answers for the rest"


# Uploads ------------------------------------------------------------------------------------------


def test_an_upload_that_breaks_off_leaves_nothing(server, uploads_root):
    [folder] = (path for path in uploads_root.iterdir() if path.name.startswith("captioner-"))
    host, port = server.removeprefix("http://").rstrip("/").split(":")
    head = (
        b'POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000000\r\n'
        b'Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: '
        b'form-data; name="files"; filename="a.jpg"\r\n\r\n'
    )  # fmt: skip
    pieces = lambda: [path for path in folder.glob("tmp*") if path.is_file()]  # noqa: E731
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + bytes(3_000_000))
        assert wait_until(pieces), "it is being written"
    assert wait_until(lambda: not pieces())


def multipart(sizes: list[int]) -> tuple[dict, bytes]:
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    body = b"".join(part + bytes(size) + b"\r\n" for size in sizes) + b"--b--\r\n"
    return {"content-type": "multipart/form-data; boundary=b"}, body


def parse(sizes, folder, max_file_size=1000):
    headers, body = multipart(sizes)

    async def stream():
        for at in range(0, len(body), 500):
            yield body[at : at + 500]

    async def run():
        parser = upload_parser.UploadParser(
            Headers(headers), stream(), upload_dir=folder, max_file_size=max_file_size
        )
        return await parser.parse()

    return run_apart(run())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def test_one_request_and_all_uploads_together_are_limited(folder, monkeypatch):
    monkeypatch.setattr(upload_parser, "MAX_REQUEST", 5000)
    assert len(parse([900, 900], folder).getlist("files")) == 2
    held = len(list(folder.iterdir()))
    with pytest.raises(upload_parser.HTTPException) as refusal:
        parse([900] * 7, folder)
    assert refusal.value.status_code == 413
    assert len(list(folder.iterdir())) == held, "what came of it is gone"
    monkeypatch.setattr(uploads, "MAX_HELD", 1000)
    with pytest.raises(upload_parser.HTTPException) as refusal:
        parse([10], folder)
    assert refusal.value.status_code == 507 and "too many files" in refusal.value.detail


def test_what_a_killed_server_left_is_swept_and_what_a_live_one_has_is_not(folder, monkeypatch):
    start = (
        "import os, signal; from captioner.page.sweep import UploadFolder\n"
        "(UploadFolder().path / 'photo.jpg').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", start], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    [left] = folder.iterdir()
    (folder / "captioner-of-mine").mkdir()  # just made, or of somebody else
    (folder / "captioner-link").symlink_to(folder)
    live = sweep.UploadFolder()
    assert not left.exists()
    other = sweep.UploadFolder()
    assert live.path.exists() and (folder / "captioner-of-mine").exists() and folder.exists()
    monkeypatch.setattr(sweep, "AGE", -1)
    sweep.sweep_dead(folder)
    assert live.path.exists() and not (folder / "captioner-of-mine").exists()
    live.remove()
    other.remove()
    assert [path.name for path in folder.iterdir()] == ["captioner-link"]


def test_old_uploads_go_but_not_those_of_a_job(folder, monkeypatch):
    here = sweep.UploadFolder()
    for name in ("a", "b"):
        (here.path / name).mkdir()
        (here.path / name / "photo.jpg").write_text("x")
    sweep.sweep_old(here.path)
    assert len(list(here.path.rglob("photo.jpg"))) == 2
    monkeypatch.setattr(sweep, "AGE", -1)
    sweep.sweep_old(here.path, {str(here.path / "a" / "photo.jpg")})
    assert sorted(p.name for p in here.path.rglob("*")) == [sweep.LOCK, "a", "photo.jpg"]
    here.remove()


def test_a_server_that_is_open_to_others_without_accounts_says_so(folder, monkeypatch, capsys):
    from captioner.page import build, command, models

    class Page:
        folders = SimpleNamespace(queue=SimpleNamespace(files=set), kept=SimpleNamespace(sweep=set))
        share = ""

        def launch(self, **options):
            return None, "http://x", self.share if options["share"] else None

        def block_thread(self):
            pass

    monkeypatch.setattr(models, "Models", lambda *a, **k: SimpleNamespace(warm=lambda: None))
    monkeypatch.setattr(build, "build", lambda *_: Page())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(Page, "share", "https://abc.gradio.live")
    for options, warned in [
        ({}, ""), ({"host": "0.0.0.0"}, "everyone who can reach this machine"),
        ({"share": True}, "everyone with that address"),
        ({"host": "0.0.0.0", "auth": "a:b"}, ""),
    ]:  # fmt: skip
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
        command.serve(command.DemoSettings(**options))
        said = capsys.readouterr().err
        assert warned in said and ("Warning" in said) == bool(warned)
