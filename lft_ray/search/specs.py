"""The parts of an experiment that a study reads, handed down together. Values only."""

from dataclasses import dataclass

from lft_ray.config import CostSpec, SearchSpec, SelectionSpec, TrainingSpec
from lft_ray.cost.caps import Caps

__all__ = ["StudySpecs"]


@dataclass(frozen=True, slots=True)
class StudySpecs:
    """How many trials, how each trains, what may win, and what it costs."""

    search: SearchSpec
    training: TrainingSpec
    selection: SelectionSpec
    cost: CostSpec

    @property
    def caps(self) -> Caps:
        """What a variant may cost and take at most."""
        return Caps.of(self.selection, self.cost)
