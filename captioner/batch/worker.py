"""The process that decodes photos for `pool.Pool`: questions in, answers out, until the pipe ends.

It is started by file descriptor and imports neither torch nor the program that started it. When its
parent dies the pipe ends, and so does it; should it hang in a decoder then, an alarm ends it.
"""

import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError, PhotoError
from captioner.exits import not_loaded


def serve(connection: Connection) -> None:
    """Answer (function, argument, seconds) with the function's result, or its PhotoError; with
    another CaptionerError where this process cannot do its work at all."""
    alone = threading.current_thread() is threading.main_thread()
    with contextlib.suppress(EOFError, OSError):  # the other end is gone
        connection.send("ready")
        while True:
            function, argument, seconds = connection.recv()
            if alone:
                signal.alarm(math.ceil(2 * seconds) + 1)
            answer = _answer(function, argument)
            if alone:
                signal.alarm(0)
            connection.send(answer)


def _answer(function: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return function(argument)
    except CaptionerError as error:
        return PhotoError(str(error))  # without what it came from, which may not pickle
    except ImportError as error:
        return CaptionerError(not_loaded(error))
    except MemoryError:
        return PhotoError(f"{argument.name} needs more memory than this machine has free.")
    except Exception as error:
        return PhotoError(f"{argument.name} cannot be used: {type(error).__name__}: {error}.")


def main() -> None:
    # Should memory run out, the kernel is to take this process and not the one with the model.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    connection = Connection(int(sys.argv[1]))
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # decoders print warnings of their own
        os.dup2(quiet, stream)
    serve(connection)


if __name__ == "__main__":
    main()
