"""One exit status for each kind of end, and a sentence in place of a traceback."""

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


def test_a_command_that_ends_well_has_the_status_it_returns(capsys):
    assert run(lambda: None) == 0 and run(lambda: 1) == 1
    assert capsys.readouterr().err == ""


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))
