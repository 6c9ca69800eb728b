"""The stages that a run can be made of: a file for each kind, none of which the loop knows."""

from .base import Length, PhotoStage, Rates, Stage
from .cross_entropy import CrossEntropy
from .distil import Distil
from .scst import Scst
from .text import Text

KINDS: dict[str, type[Stage]] = {kind.KIND: kind for kind in (Text, CrossEntropy, Scst, Distil)}
"""What `kind` of a [[stage]] table may be."""

__all__ = ["KINDS", "Length", "PhotoStage", "Rates", "Stage"]
