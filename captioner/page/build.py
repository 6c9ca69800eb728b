"""The page: header, tabs and endpoints, put together."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from starlette.middleware import Middleware

from captioner.machine import cores

from . import upload_parser
from .accounts import Accounts
from .api import add_endpoints
from .assets import STATIC, static
from .caption import CaptionService, concurrency
from .folder import FolderService
from .kept import KeptJobs, state_folder
from .middleware import Guard, Hosts
from .models import Models
from .tabs import about_tab, caption_tab, folder_tab, header, score_tab
from .theme import theme
from .uploads import NOT_UPLOADED


class Page(gr.Blocks):
    """Gradio's page, which keeps to itself where on this machine it looked for a file."""

    folders: FolderService

    async def preprocess_data(self, *args: Any, **options: Any) -> Any:
        """Gradio's look at the inputs of an endpoint. Raises gr.Error."""
        try:
            return await super().preprocess_data(*args, **options)
        except InvalidPathError:
            raise gr.Error(NOT_UPLOADED, print_exception=False) from None
        except OSError:
            raise gr.Error("That file cannot be read; upload it again.") from None


def build(models: Models, waiting: int | None = None) -> Page:
    """The whole page over these models. `launch_options` has what belongs to its launch.

    waiting: how many photos may wait for their turn; who comes later is told that the server is
    busy. Of the page and of programs each.
    """
    waiting = 16 * cores() if waiting is None else waiting
    service = CaptionService(models, waiting)
    folders = FolderService(models, KeptJobs(state_folder()))
    upload_parser.install()
    page = Page(title="captioner", analytics_enabled=False)
    page.folders = folders
    with page:
        header()
        with gr.Tabs(elem_id="c-tabs"):
            with gr.Tab("Caption", id="caption"):
                caption_tab(service, folders)
            with gr.Tab("Folder", id="folder"):
                folder_tab(folders)
            with gr.Tab("Score", id="score"):
                score_tab()
            with gr.Tab("About", id="about"):
                about_tab(models)
        add_endpoints(service, folders)
        page.queue(max_size=waiting, default_concurrency_limit=concurrency())
    return page


def launch_options(hosts: Hosts) -> dict[str, Any]:
    """What of the page gradio takes at launch. hosts: the names by which it may be asked for."""
    return {
        "app_kwargs": {"middleware": [Middleware(Guard, hosts), Middleware(Accounts)]},
        "theme": theme(),
        "css": static("page.css"),
        "favicon_path": str(STATIC / "icon.svg"),
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "state_session_capacity": 1000,
    }
