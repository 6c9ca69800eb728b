"""`captioner demo`: the web page."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from captioner.errors import CaptionerError, SettingError
from captioner.options import DEVICE, DTYPE, MODEL, RUNTIME, SERVER, with_settings
from captioner.settings import setting

from .sweep import UploadFolder


@dataclass(frozen=True)
class DemoSettings:
    """How the page is served."""

    host: str = setting(
        "127.0.0.1", "Listen on this address; 0.0.0.0 opens the page to the network.",
        value="ADDRESS",
    )  # fmt: skip
    port: int | None = setting(
        None, "Listen on this port.", value="N", otherwise="7860 or the next free one"
    )
    share: bool = setting(
        False, "Give the page a public address for a week, through gradio's server."
    )
    model: tuple[str, ...] = setting(
        (), f"{MODEL.help} Given several times, the page offers the choice.",
        flag=MODEL.flag, value=MODEL.value, otherwise=MODEL.otherwise,
    )  # fmt: skip
    root_path: str = setting(
        "", "The path or the whole address that a proxy gives the page.", value="PATH"
    )
    auth: str = setting(
        "", "Let in only those with this user:password, or with a line of this file. Others on "
        "this machine see the command, and neither the environment nor the file.",
        value="TEXT", otherwise="everyone",
    )  # fmt: skip
    allow_host: tuple[str, ...] = setting(
        (), "A name by which the page may be asked for, such as a proxy's; may be given several "
        "times.", value="NAME", otherwise="this machine's own",
    )  # fmt: skip
    queue: int | None = setting(
        None, "How many requests may wait; later ones hear that the server is busy.", value="N",
        otherwise="16 for every core",
    )  # fmt: skip
    server: str | None = setting(None, SERVER)
    device: str | None = setting(None, DEVICE)
    dtype: str | None = setting(None, DTYPE)
    runtime: str | None = setting(None, RUNTIME)
    browser: bool = setting(False, "Open the page in a browser.")

    def __post_init__(self) -> None:
        if self.port is not None and not 1 <= self.port <= 65535:
            raise SettingError("`port` is a number from 1 to 65535.")
        if self.queue is not None and self.queue < 1:
            raise SettingError("`queue` must be at least 1.")


@with_settings
def demo(asked: DemoSettings) -> None:
    """Open the web page: drop a photo, click a word, see where the model looked.

    Examples:

        captioner demo

        captioner demo --model runs/mine/best --port 8000

        captioner demo --server http://localhost:8000/v1 --model NAME

        captioner demo --host 0.0.0.0 --auth people.txt --root-path /captioner
    """
    serve(asked)


def serve(asked: DemoSettings) -> None:
    """Serve the page until interrupted. Raises CaptionerError, ModelError."""
    auth = people(asked.auth)
    folder = _prepare()
    try:
        from .build import build, launch_options
        from .middleware import Hosts, is_loopback
        from .models import Models
        from .uploads import MAX_UPLOAD

        typer.echo("Loading the model ...", err=True)
        loaded = Models(
            asked.model, device=asked.device, dtype=asked.dtype, server=asked.server,
            runtime=asked.runtime,
        )  # fmt: skip
        loaded.warm()
        page = build(loaded, asked.queue)
        folder.sweep_from_time_to_time(page.folders.queue.files, page.folders.kept.sweep)
        hosts = Hosts(asked.host, asked.allow_host)
        try:
            _, address, public = page.launch(
                server_name=asked.host,
                server_port=asked.port,
                share=asked.share,
                root_path=asked.root_path or None,
                auth=auth,
                inbrowser=asked.browser,
                max_file_size=MAX_UPLOAD,
                prevent_thread_lock=True,
                quiet=True,
                show_error=True,
                **launch_options(hosts),
            )
        except OSError as error:
            raise CaptionerError(
                f"The page cannot be served on {asked.host}:{asked.port}: {error}"
            ) from error
        typer.echo(f"The page is at {address}  (stop it with Ctrl+C)", err=True)
        if public:
            hosts.add(public)
            typer.echo(f"For everyone, for a week: {public}", err=True)
        if not auth and (public or not is_loopback(asked.host)):
            who = "with that address" if public else "who can reach this machine"
            typer.echo(
                f"Warning: there are no accounts, so everyone {who} can caption photos here, on "
                "this machine's time; --auth lets in only those with a password.",
                err=True,
            )
        page.block_thread()
    finally:
        folder.remove()


def people(auth: str | None) -> list[tuple[str, str]] | None:
    """Names and passwords from `user:password` or from a file of such lines; None for everyone.

    Raises CaptionerError when there are none in it.
    """
    if not auth:
        return None
    lines, where = [auth], "--auth"
    path = Path(auth)
    if ":" not in auth or path.is_file():
        try:
            lines, where = path.read_text(encoding="utf-8").splitlines(), auth
        except (OSError, UnicodeDecodeError) as error:
            raise CaptionerError(
                f"--auth is user:password, or a file with such lines, and {auth} cannot be read."
            ) from error
    pairs = [tuple(line.strip().split(":", 1)) for line in lines if line.strip()]
    if not pairs or not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise CaptionerError(f"Every line of {where} is user:password.")
    return [(user, password) for user, password in pairs]


def _prepare() -> UploadFolder:
    """The folder for uploads, this server's own and nobody else's; gradio told to stay at home."""
    folder = UploadFolder()
    os.environ["GRADIO_TEMP_DIR"] = str(folder.path)  # before gradio is imported
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt  # so that the folder is removed at the end of a service too

    signal.signal(signal.SIGTERM, stop)
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        folder.remove()
        raise CaptionerError(
            "The web page needs gradio, which is not installed: pip install 'captioner[demo]'."
        ) from error
    return folder
