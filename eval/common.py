"""What the commands of `python -m eval` share: parsers, photographs, figures as JSON."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from captioner.photos import find_photos
from captioner.samples import sample_photos


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m eval NAME`; the module's docstring is its help."""
    return argparse.ArgumentParser(
        prog=f"python -m eval {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_photos(made: argparse.ArgumentParser) -> None:
    made.add_argument("--images", type=Path, help="default: scikit-image's photographs")


def add_json(made: argparse.ArgumentParser) -> None:
    made.add_argument("--json", action="store_true", help="print the figures as JSON")


def add_machine(made: argparse.ArgumentParser, dtype: str | None = None) -> None:
    made.add_argument("--device", help="cpu, cuda, cuda:1, mps; default: the best")
    made.add_argument("--dtype", default=dtype, help="float32, bfloat16 or float16")
    made.add_argument("--runtime", help="what runs the encoder: torch or openvino")


def photos_of(images: Path | None) -> list[Path]:
    """The photographs of a folder, or scikit-image's."""
    return find_photos([images]) if images else sample_photos()


def print_json(figures: Mapping[str, object]) -> None:
    print(json.dumps(figures, indent=2))
