"""The sections of the experiment config that a study reads, passed as one object. Values only."""

from dataclasses import dataclass

from lft_ray.config import CostSpec, SearchSpec, SelectionSpec, TrainingSpec
from lft_ray.cost.caps import Caps

__all__ = ["StudySpecs"]


@dataclass(frozen=True, slots=True)
class StudySpecs:
    """Search, training, selection and cost sections of an experiment."""

    search: SearchSpec
    training: TrainingSpec
    selection: SelectionSpec
    cost: CostSpec

    @property
    def caps(self) -> Caps:
        """Caps on serving dollars and latency of a variant."""
        return Caps.of(self.selection, self.cost)
