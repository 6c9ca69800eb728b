"""One exit status for each kind of end, and a sentence in place of a traceback."""

import signal
import subprocess
import sys

import pytest

from captioner.errors import DataError, ModelError, PhotoError, SettingError
from captioner.exits import run


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (DataError("a.json is not captions."), 2, "Error: a.json is not captions."),
        (ModelError("There is no model folder x."), 2, "Error: There is no model folder x."),
        (PhotoError("a.jpg is damaged."), 1, "Error: a.jpg is damaged."),
        (SettingError("Lower `max_length`."), 2, "Error: Lower --max-length."),
        (KeyboardInterrupt(), 130, "Stopped; the same command goes on."),
    ],
)
def test_an_error_is_a_sentence_and_a_status(error, status, sentence, capsys):
    names = {"max_length": "--max-length"}
    found = run(raising(error), names=names, stopped="Stopped; the same command goes on.")
    assert found == status
    assert capsys.readouterr().err == sentence + "\n"


@pytest.mark.parametrize(
    "command",
    ["lambda: [print('a line', flush=True) for _ in range(100000)] and None",
     "lambda: typer.run(lambda: [print('a line', flush=True) for _ in range(100000)])",
     "lambda: print('a line')"],
    ids=["printed", "in typer", "in the buffer"],
)  # fmt: skip
def test_where_nobody_reads_the_process_dies_of_sigpipe_in_silence(command):
    program = f"import sys, time, typer; from captioner.exits import run; sys.exit(run({command}))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == -signal.SIGPIPE


def test_a_library_that_cannot_be_loaded_is_a_sentence(capsys):
    lost = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    assert run(raising(lost)) == 2
    told = capsys.readouterr().err
    assert "libtorch_cpu.so" in told and "ulimit -v" in told and "Traceback" not in told
    assert run(raising(ModuleNotFoundError("No module named 'timm'"))) == 2
    assert "Install captioner again" in capsys.readouterr().err
    with pytest.raises(ImportError):  # a fault of the program
        run(raising(ImportError("cannot import name 'captoin' from 'captioner'")))


def test_a_command_that_ends_well_has_the_status_it_returns(capsys):
    assert run(lambda: None) == 0 and run(lambda: 1) == 1
    assert capsys.readouterr().err == ""


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))
