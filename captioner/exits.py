"""How every command ends: an error becomes a sentence on stderr, and the process an exit status.

def main() -> int:
    return run(lambda: command(parser.parse_args()))

sys.exit(main())
"""

import sys
from collections.abc import Callable, Mapping
from enum import IntEnum

from .errors import CaptionerError, PhotoError


class Exit(IntEnum):
    """The exit statuses of `captioner`, `python -m train` and `python -m eval`."""

    DONE = 0
    """All went well."""
    SOME_PHOTOS = 1
    """Some photos could not be used, or the only one that was asked for; the rest is done."""
    MISTAKE = 2
    """What was asked for makes no sense or cannot be read: nothing is done."""
    ALL_PHOTOS = 3
    """Of several photos not one could be used."""
    STOPPED = 130
    """Interrupted; what was saved before is whole."""


def run(
    command: Callable[[], int | None],
    *,
    names: Mapping[str, str] | None = None,
    stopped: str = "Stopped.",
) -> int:
    """Run a command and return its exit status: what it returns, or DONE for None.

    A CaptionerError is printed as a sentence without a traceback, and so is an interruption. Any
    other exception is a fault of the program and passes through.

    Args:
        names: what the person calls the settings that an error names: `options.flags(Request)`.
        stopped: the sentence for an interruption, which says how to go on.
    """
    try:
        return command() or Exit.DONE
    except CaptionerError as error:
        print(f"Error: {error.with_names(names or {})}", file=sys.stderr)
        return Exit.SOME_PHOTOS if isinstance(error, PhotoError) else Exit.MISTAKE
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return Exit.STOPPED
