"""The command-line options that several commands have."""

from typing import Annotated

import typer

Model = Annotated[
    str | None, typer.Option("--model", "-m", help="A model folder; default: the model in the box.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: the best.")]
Dtype = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or float16; default: what suits.")
]
