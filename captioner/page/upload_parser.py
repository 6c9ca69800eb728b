"""What is uploaded, on its way into the upload folder: limited in all, and nothing left of what
breaks off."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio.to_thread
from gradio import route_utils
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from .uploads import MAX_REQUEST, has_room


class UploadParser(route_utils.GradioMultiPartParser):
    """Gradio's parser, which limits each file but not the request, and which leaves behind what has
    come when the connection is lost."""

    async def parse(self) -> FormData:
        """The files of the request. Raises HTTPException 507 when there is no room for more."""
        if not await anyio.to_thread.run_sync(has_room):
            raise HTTPException(507, "The server holds too many files just now. Try again later.")
        self.stream = _limited(self.stream)
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


def install() -> None:
    """Have gradio's upload route use it."""
    route_utils.GradioMultiPartParser = UploadParser  # type: ignore[misc]


async def _limited(stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > MAX_REQUEST:
            raise HTTPException(413, "These files are too large to be uploaded at once.")
        yield chunk
