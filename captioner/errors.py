"""The errors a person can meet: each message is a sentence that says what, which, and what to do.

The command prints them without a traceback and exits with a non-zero status.
"""

import re
from collections.abc import Mapping


class CaptionerError(Exception):
    """Base of all errors that are the input's or the setting's fault, not the program's.

    The sentence marks settings as `max_length`; it is read without the marks, or with the names
    that the person knows them by: --max-length in the command, a label on the page.
    """

    def __str__(self) -> str:
        return self.with_names({})

    def with_names(self, names: Mapping[str, str]) -> str:
        """The sentence, with these names for the settings."""
        sentence = super().__str__()
        return re.sub(r"`(\w+)`", lambda found: names.get(found[1], found[1]), sentence)


class SettingError(CaptionerError):
    """A setting that makes no sense."""


class PhotoError(CaptionerError):
    """A photograph that cannot be used: the sentence names the file and the reason."""


class ModelError(CaptionerError):
    """A model folder or an encoder name that cannot be loaded."""


class DataError(CaptionerError):
    """An annotation, results or text file that is not what it should be."""
