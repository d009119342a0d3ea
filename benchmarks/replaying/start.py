"""What every method of a replay is given alike: search space, start table, known costs. All made by the product."""

from dataclasses import dataclass

from lft_ray.config import ModelSpec, Range, TrainingSpec
from lft_ray.models.base import ModelSize, model_sizes
from lft_ray.records import TrialConfig
from lft_ray.search.space import SearchSpace, build_space, start_table

from .table import Table

__all__ = ["Given"]


@dataclass(frozen=True, slots=True)
class Given:
    """The common ground of a replay."""

    table: Table
    sizes: tuple[ModelSize, ...]
    """Cheapest to serve first."""
    training: TrainingSpec
    start: tuple[TrialConfig, ...]
    """One trial per size with the ladder's default rate, cheapest first."""

    @classmethod
    def of(cls, table: Table) -> "Given":
        """The common ground of a table."""
        depths = sorted(int(size.partition(":")[2]) for size in table.sizes if ":" in size)
        base = next(size.partition(":")[0] for size in table.sizes if ":" in size)
        specs = [ModelSpec(base=base, layers=depths)]
        specs += [ModelSpec(base=size) for size in table.sizes if ":" not in size]
        sizes = sorted(model_sizes(specs), key=lambda size: table.usd_per_million[size.name])
        training = TrainingSpec(
            learning_rate=Range(low=table.rates[0], high=table.rates[-1]),
            batch_size=table.batches,
            epochs=table.epochs,
            max_length=table.max_length,
        )
        return cls(table, tuple(sizes), training, tuple(start_table(sizes, training, seed=0)))

    @property
    def networks(self) -> list[str]:
        """Names of the sizes that are searched, cheapest first."""
        return [size.name for size in self.sizes if not size.is_linear]

    def space(self, *, on_grid: bool = False) -> SearchSpace:
        """The product's search space; ``on_grid``: recorded learning rates alone."""
        training = self.training
        if on_grid:
            training = training.model_copy(update={"learning_rate": list(self.table.rates)})
        return build_space(self.sizes, training, seed=0)

    def known_cost(self, config: TrialConfig) -> float:
        """Dollars per million predictions."""
        return self.table.usd_per_million[config.model_size]
