"""The web page, from a checkout: `python app.py`, with the options of `captioner demo`.

    python app.py --model runs/mine/best --port 8000

The page itself is captioner/page, so that `captioner demo` has it wherever captioner is installed.
"""

import sys

from captioner.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "demo")
    main()
