"""Captioning many files: decoding ahead of the model, one result for every file."""

from .run import Done, caption_files

__all__ = ["Done", "caption_files"]
