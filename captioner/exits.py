"""How every command ends: an error becomes a sentence on stderr, and the process an exit status.

def main() -> int:
    return run(lambda: command(parser.parse_args()))

sys.exit(main())
"""

import os
import signal
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

    A CaptionerError is printed as a sentence without a traceback, and so are an interruption and a
    library that cannot be loaded. Any other exception is a fault of the program and passes through.

    Where nobody reads what is printed (`| head -1`), the process dies silently of SIGPIPE as other
    programs do: a shell has 141 for that. The signal is ignored until then, since a pipe to one of
    our own processes may break, too.

    Args:
        names: what the person calls the settings that an error names: `options.flags(Request)`.
        stopped: the sentence for an interruption, which says how to go on.
    """
    try:
        status = _run(command, names or {}, stopped)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        return _die_of_broken_pipe()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer exits with 1 for that
            return _die_of_broken_pipe()
        raise


def _run(command: Callable[[], int | None], names: Mapping[str, str], stopped: str) -> int:
    try:
        return command() or Exit.DONE
    except CaptionerError as error:
        print(f"Error: {error.with_names(names)}", file=sys.stderr)
        return Exit.SOME_PHOTOS if isinstance(error, PhotoError) else Exit.MISTAKE
    except ImportError as error:
        if "cannot import name" in str(error):  # a fault of the program
            raise
        print(f"Error: {not_loaded(error)}", file=sys.stderr)
        return Exit.MISTAKE
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return Exit.STOPPED


def not_loaded(error: ImportError) -> str:
    """The sentence for a library that cannot be loaded."""
    missing = isinstance(error, ModuleNotFoundError)
    return f"A library that is needed cannot be loaded: {error}. " + (
        "Install captioner again with pip."
        if missing
        else "The memory that a process may use may be too little (ulimit -v says how much)."
    )


def _die_of_broken_pipe() -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    return 128 + signal.SIGPIPE  # where the signal is blocked
