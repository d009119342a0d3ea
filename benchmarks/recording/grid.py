"""The recorded grid of configurations. Pure values; ids never change when the grid grows at its end."""

from collections.abc import Iterator
from dataclasses import dataclass

from lft_ray.records import TrialConfig

__all__ = ["DEPTHS", "RATES", "SEEDS", "GridRun", "grid"]

DEPTHS = (1, 2, 3, 4, 5, 6)
RATES = (1e-5, 3e-5, 1e-4, 2e-4, 3e-4, 6e-4, 1e-3)
EPOCHS = (1, 3)
SEEDS = (0, 1, 2)
OTHER_BATCHES = (16, 64)
OTHER_DEPTHS = (1, 3, 6)
OTHER_RATES = (1e-4, 3e-4)


@dataclass(frozen=True, slots=True)
class GridRun:
    """One run of the grid."""

    config_id: int
    config: TrialConfig

    @property
    def run_id(self) -> int:
        """Id of configuration and seed."""
        return self.config_id * 10 + self.config.seed


def grid(max_length: int) -> list[GridRun]:
    """All runs of a task: seed 0 of every configuration first, so that a part of them is a table already."""
    configs = list(_configs(max_length))
    linear = GridRun(0, TrialConfig(model_size="tfidf", max_length=max_length))
    seeded = [
        GridRun(number, config.model_copy(update={"seed": seed}))
        for seed in SEEDS
        for number, config in enumerate(configs, start=1)
    ]
    return [linear, *seeded]


def _configs(max_length: int) -> Iterator[TrialConfig]:
    main = [(depth, rate, epochs, 32) for depth in DEPTHS for rate in RATES for epochs in EPOCHS]
    others = [(depth, rate, 1, batch) for batch in OTHER_BATCHES for depth in OTHER_DEPTHS for rate in OTHER_RATES]
    for depth, rate, epochs, batch in main + others:
        yield TrialConfig(
            model_size=f"minilm:{depth}", learning_rate=rate, batch_size=batch, epochs=epochs, max_length=max_length
        )
