"""The errors a person can meet: each message is a sentence that says what, which, and what to do.

The command prints them without a traceback and exits with a non-zero status.
"""


class CaptionerError(Exception):
    """Base of all errors that are the input's or the setting's fault, not the program's."""


class PhotoError(CaptionerError):
    """A photograph that cannot be used: the sentence names the file and the reason."""


class ModelError(CaptionerError):
    """A model folder or an encoder name that cannot be loaded."""


class DataError(CaptionerError):
    """An annotation, results or text file that is not what it should be."""
