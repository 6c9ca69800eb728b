"""Real photographs to try the captioner on, read where scikit-image is installed; none is copied.
The documentation of `skimage.data` names the source of each."""

from importlib.util import find_spec
from pathlib import Path

from .errors import CaptionerError

# The photographs of things that an everyday caption can be written of; the package also holds
# textures, diagrams and pictures from microscopes.
NAMES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "motorcycle_left.png",
    "rocket.jpg",
)


def sample_photos() -> list[Path]:
    """The files of the sample photographs. Raises CaptionerError without scikit-image."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise CaptionerError(
            "The sample photographs come with scikit-image, which is not installed: "
            "pip install scikit-image, or name photos of your own."
        )
    folder = Path(spec.origin).parent / "data"
    return [folder / name for name in NAMES if (folder / name).is_file()]
