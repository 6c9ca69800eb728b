"""The page's styles and scripts, out of static/."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"
SCRIPTS = {
    "header": ("header.js",),
    "viewer": ("shared.js", "settings.js", "viewer.js", "words.js", "heat.js", "camera.js"),
    "folder": ("shared.js", "settings.js", "folder.js"),
}
"""The files of each part's script, which gradio runs as the body of one function."""


def static(name: str) -> str:
    """The text of a file of static/."""
    return (STATIC / name).read_text(encoding="utf-8")


def script(part: str) -> str:
    """The script of a part of the page."""
    return "\n".join(static(name) for name in SCRIPTS[part])
