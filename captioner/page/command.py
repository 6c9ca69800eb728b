"""`captioner demo`: the web page."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from captioner.errors import CaptionerError
from captioner.options import DeviceOption, DtypeOption

from .sweep import UploadFolder


def demo(
    host: Annotated[
        str, typer.Option(help="Listen on this address; 0.0.0.0 opens the page to the network.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Listen on this port; without it, on 7860 or the next free one."
        ),
    ] = None,
    share: Annotated[
        bool,
        typer.Option(
            "--share", help="Give the page a public address for a week, through gradio's server."
        ),
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            envvar="CAPTIONER_MODEL",
            show_envvar=False,
            help="The folder of a model; given several times, the page offers the choice.",
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="The path or the whole address that a proxy gives the page.")
    ] = "",
    auth: Annotated[
        str | None,
        typer.Option(
            envvar="CAPTIONER_AUTH",
            help="Let in only those with this user:password, or with a line of this file. Others "
            "on this machine see the command, and neither the environment nor the file.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            help="A name by which the page may be asked for, such as a proxy's; may be given "
            "several times. This machine's own names are allowed.",
        ),
    ] = None,
    queue: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many requests may wait; later ones hear that the server is busy."
        ),
    ] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in a browser.")] = False,
) -> None:
    """Open the web page: drop a photo, click a word, see where the model looked.

    Examples:

        captioner demo

        captioner demo --model runs/mine/best --port 8000

        captioner demo --host 0.0.0.0 --auth people.txt --root-path /captioner
    """
    serve(
        model or (), host=host, port=port, share=share, root_path=root_path, auth=people(auth),
        allow_hosts=allow_host or (), queue=queue, device=device, dtype=dtype, browser=browser,
    )  # fmt: skip


def serve(
    models: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    root_path: str = "",
    auth: list[tuple[str, str]] | None = None,
    allow_hosts: Sequence[str] = (),
    queue: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    browser: bool = False,
) -> None:
    """Serve the page until interrupted. Raises CaptionerError, ModelError."""
    folder = _prepare()
    try:
        from .build import build, launch_options
        from .middleware import Hosts, is_loopback
        from .models import Models
        from .uploads import MAX_UPLOAD

        typer.echo("Loading the model ...", err=True)
        loaded = Models(models, device=device, dtype=dtype)
        loaded.warm()
        page = build(loaded, queue)
        folder.sweep_from_time_to_time(page.folders.queue.files, page.folders.kept.sweep)
        hosts = Hosts(host, allow_hosts)
        try:
            _, address, public = page.launch(
                server_name=host,
                server_port=port,
                share=share,
                root_path=root_path or None,
                auth=auth,
                inbrowser=browser,
                max_file_size=MAX_UPLOAD,
                prevent_thread_lock=True,
                quiet=True,
                show_error=True,
                **launch_options(hosts),
            )
        except OSError as error:
            raise CaptionerError(f"The page cannot be served on {host}:{port}: {error}") from error
        typer.echo(f"The page is at {address}  (stop it with Ctrl+C)", err=True)
        if public:
            hosts.add(public)
            typer.echo(f"For everyone, for a week: {public}", err=True)
        if not auth and (public or not is_loopback(host)):
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
