"""Curricula: one file each. `@register_curriculum` registers a class as a curriculum, wherever it is defined."""
# ruff: noqa: I001 - the order of these imports is the order of registration, and so that of tables and legends.

from tsrnn.curricula.base import CURRICULA, Advance, Curriculum, CurriculumState, named, order, register_curriculum
from tsrnn.curricula.base import following, moved
from tsrnn.curricula.single import SingleHead
from tsrnn.curricula.sliding import SlidingWindow
from tsrnn.curricula.multi import MultiHead
from tsrnn.curricula.none import NoCurriculum
from tsrnn.curricula.all_at_once import AllHeads

__all__ = [
    "CURRICULA",
    "Advance",
    "AllHeads",
    "Curriculum",
    "CurriculumState",
    "MultiHead",
    "NoCurriculum",
    "SingleHead",
    "SlidingWindow",
    "following",
    "moved",
    "named",
    "order",
    "register_curriculum",
]
