"""`captioner` and `python -m train` as processes of their own, forked from one that has imported
torch already: that import takes some seconds, and the tests run a hundred commands.

A process is as real as one that is started from a shell: it has its own standard streams, signals
and exit status, and can be killed.
"""

import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

ENVIRONMENT = {"COLUMNS": "100", "NO_COLOR": "1"}
_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["captioner.captioner", "captioner.cli", "timm", "train.setup"])


class Command:
    """A command that runs, as `subprocess.Popen` has it."""

    def __init__(
        self,
        *arguments: object,
        program: str = "captioner.cli",
        cwd: object = None,
        input: str | bytes | None = None,
    ):
        self.args = [str(argument) for argument in arguments]
        pipes = [_forked.Pipe(duplex=False) for _ in range(3)]
        (stdin, given), *outs = pipes
        self._process = _forked.Process(
            target=_main,
            args=(program, self.args, str(cwd or Path.cwd()), stdin, *(w for _, w in outs)),
        )
        self._process.start()
        stdin.close()
        for _, write in outs:
            write.close()
        data = input.encode() if isinstance(input, str) else input or b""
        self._threads = [threading.Thread(target=_write, args=(given, data), daemon=True)]
        self._told: list[bytes] = [b"", b""]
        for place, (read, _) in enumerate(outs):
            self._threads.append(
                threading.Thread(target=self._read, args=(place, read), daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def _read(self, place: int, pipe: Connection) -> None:
        with os.fdopen(os.dup(pipe.fileno()), "rb") as stream:
            self._told[place] = stream.read()
        pipe.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        self.wait(timeout)
        for thread in self._threads:
            thread.join(timeout)
        return self._told[0], self._told[1]

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def start(*arguments: object, program: str = "captioner.cli") -> Command:
    """program: the module whose `main` is to run, such as `train.__main__`."""
    return Command(*arguments, program=program)


def run(
    *arguments: object,
    program: str = "captioner.cli",
    cwd: object = None,
    input: str | bytes | None = None,
    timeout: float = 600,
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    command = Command(*arguments, program=program, cwd=cwd, input=input)
    try:
        out, err = (text.decode("utf-8") for text in command.communicate(timeout))
    except BaseException:
        command.kill()
        raise
    return subprocess.CompletedProcess(command.args, command.returncode or 0, out, err)


def _write(pipe: Connection, data: bytes) -> None:
    with os.fdopen(os.dup(pipe.fileno()), "wb") as stream:
        pipe.close()
        with contextlib.suppress(BrokenPipeError):  # it did not want to know
            stream.write(data)


def _main(program: str, arguments: list[str], cwd: str, *streams: Connection) -> None:
    """In the new process: what a shell and the interpreter do before a command begins."""
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    os.environ.update(ENVIRONMENT)
    os.chdir(cwd)
    sys.argv = ["captioner", *arguments]
    sys.exit(import_module(program).main())
