"""Measurements, each a command:

python -m eval coco         a model on a caption set: CIDEr-D, BLEU, ROUGE-L and a report page
python -m eval speed        photos a second, start-up, memory, what heatmaps cost
python -m eval startup      the first caption beside importing torch: time and memory
python -m eval grounding    whether heatmaps point at the thing that the word names
python -m eval things       which things the detector of a model finds
python -m eval cost         what cross-attention costs against patches and tokens
python -m eval batch        a folder job: speed beside a plain loop, kills, memory
python -m eval score_speed  our scorer beside the Java pipeline
python -m eval train_speed  our training loop beside a plain transformers one; feeding
python -m eval page_load    the web page under load, and its overlays against the library
"""

import sys
from importlib import import_module

COMMANDS = (
    "coco",
    "speed",
    "startup",
    "grounding",
    "things",
    "cost",
    "batch",
    "score_speed",
    "train_speed",
    "page_load",
)


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    name = sys.argv.pop(1)
    return import_module(f"eval.{name}").main() or 0


if __name__ == "__main__":
    sys.exit(main())
