"""The common inputs of all methods in a replay: search space, start table, known costs. All built by lft_ray."""

from dataclasses import dataclass

from lft_ray.config import ModelSpec, Range, TrainingSpec
from lft_ray.cost.budget import Budget
from lft_ray.cost.forecast import Forecast, trial_flops
from lft_ray.cost.prices import Price
from lft_ray.models.sizes import ModelSize, model_sizes
from lft_ray.records import TrialConfig
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.space import SearchSpace, build_space, start_table

from .table import Table

__all__ = ["Given"]

TOKENS_A_TEXT = 24.0
"""The forecast learns seconds from FLOPs, so this one factor of all FLOPs changes nothing."""


@dataclass(frozen=True, slots=True)
class Given:
    """The common inputs of a replay."""

    table: Table
    sizes: tuple[ModelSize, ...]
    """Cheapest to serve first."""
    training: TrainingSpec
    start: tuple[TrialConfig, ...]
    """One trial per size with the ladder's default rate, cheapest first."""

    @classmethod
    def of(cls, table: Table) -> "Given":
        """The common inputs for a table."""
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
        """Names of the searched sizes, cheapest first."""
        return [size.name for size in self.sizes if not size.is_linear]

    def space(self, *, on_grid: bool = False) -> SearchSpace:
        """lft_ray's search space; ``on_grid``: with recorded learning rates only."""
        training = self.training
        if on_grid:
            training = training.model_copy(update={"learning_rate": list(self.table.rates)})
        return build_space(self.sizes, training, seed=0)

    def known_cost(self, config: TrialConfig) -> float:
        """Dollars per million predictions."""
        return self.table.usd_per_million[config.model_size]

    @property
    def start_usd(self) -> float:
        """Mean dollars of the whole start table: the minimum spend before any method has a front."""
        table = self.table
        return sum(sum(table.curve(c, s).usd[-1] for s in table.seeds(c)) / len(table.seeds(c)) for c in self.start)

    def default_rate(self, config: TrialConfig) -> float | None:
        """The ladder's learning rate of a configuration's size."""
        return next(size.default_learning_rate for size in self.sizes if size.name == config.model_size)

    def admission(self) -> BudgetAdmission:
        """lft_ray's admission without limits: it predicts training dollars of a proposal from ended trials."""
        by_name = {size.name: size for size in self.sizes}
        curve = self.table.curve(self.start[-1], self.table.seeds(self.start[-1])[0])
        usd_per_core_s = float(curve.usd[-1] / curve.train_s[-1])
        price = Price(
            name="table",
            usd_per_core_s=usd_per_core_s,
            usd_per_device_s=0.0,
            training_usd_per_core_s=usd_per_core_s,
            training_usd_per_device_s=0.0,
            as_of="",
            source="recorded",
        )

        def work(config: TrialConfig) -> float:
            return trial_flops(
                config,
                flops_per_token=by_name[config.model_size].flops_per_token,
                train_tokens=self.table.train_rows * TOKENS_A_TEXT,
                validation_tokens=self.table.validation_rows * TOKENS_A_TEXT,
                evaluations=len(curve.f1),
            )

        def device(config: TrialConfig) -> str:
            return "linear" if by_name[config.model_size].is_linear else "cpu"

        return BudgetAdmission(Budget(), Forecast(), price, work, device)
