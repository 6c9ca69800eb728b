"""What stands before gradio's own routes."""

import re

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class NoFetching:
    """Refuses `file=https://...`, by which gradio would fetch any public page for anybody."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and re.search(r"/file[=/]\s*https?:", scope["path"], re.I):
            await PlainTextResponse("Only uploads are served.", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
