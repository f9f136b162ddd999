"""The names of a study's choices, for its command and for its parts."""

from typing import Final, Literal, get_args

OptimizerName = Literal["sgd", "adam", "adamw", "muon", "soap"]
CurriculumName = Literal["multi", "single"]
Purpose = Literal["search", "confirm", "ablation"]

OPTIMIZERS: Final[tuple[OptimizerName, ...]] = get_args(OptimizerName)
