"""Who teaches a distilled trial. In: ended trials, what sizes cost to serve. Out: configurations that name a teacher.

It is the finished search trial of highest F1 among the sizes that are dearer to serve than the student, of
those that the proposal may see: so it follows from the ledger alone, and it is written there with the configuration.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lft_ray.config import Experiment
from lft_ray.errors import ConfigError
from lft_ray.ledger import trial_order
from lft_ray.plugins import resolve
from lft_ray.records import TrialConfig, TrialRecord, TrialStatus
from lft_ray.search.plan import Proposes
from lft_ray.tasks import TASKS

__all__ = ["DISTIL", "Teachers", "check_distil", "or_in_full"]

DISTIL = "distil"
"""The method of a configuration that needs a teacher."""


@dataclass(frozen=True, slots=True)
class Teachers:
    """Gives distilled configurations their teacher.

    Attributes:
        cost: dollars per million predictions of a model size, known before it is trained; None: nothing is distilled.
    """

    cost: Callable[[str], float] | None = None

    def propose(
        self,
        proposer: Proposes,
        n: int,
        told: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool],
    ) -> TrialConfig | None:
        """The n-th proposal, with its teacher if it is distilled; see `Proposes.propose`."""

        def may_start(config: TrialConfig) -> bool:
            taught = self.assign(config, told)
            return taught is not None and fits(taught)

        config = proposer.propose(n, told, pending, may_start)
        return config and self.assign(config, told)

    def assign(self, config: TrialConfig, told: Sequence[TrialRecord]) -> TrialConfig | None:
        """The configuration with its teacher, as it is where it needs none; None when there is no teacher yet.

        Args:
            config: as proposed.
            told: ended trials that the proposal may see, in any order.
        """
        if config.method != DISTIL:
            return config
        if self.cost is None:
            return None
        own = self.cost(config.model_size)
        larger = [r for r in told if _is_finished(r) and self.cost(r.config.model_size) > own]
        if not larger:
            return None
        # Equal scores: the earliest trial, whatever the order in which they ended.
        best = min(larger, key=lambda record: (-_reference_f1(record), trial_order(record.trial_id)))
        return config.model_copy(update={"teacher": best.trial_id})


def or_in_full(config: TrialConfig) -> list[TrialConfig]:
    """The configuration, and the same trained in full if it is distilled: best first.

    A sampler knows no teachers. One that is sure of the largest size distilled would be refused every time, and what it
    is asked for after that is a plain draw.
    """
    return [config] if config.method != DISTIL else [config, config.model_copy(update={"method": "full"})]


def check_distil(experiment: Experiment) -> None:
    """Refuse distillation of a task that does not say how answers are compared.

    Raises:
        ConfigError: ``training.method`` lists distil and the task has no ``distil_loss``.
    """
    kind = experiment.task.kind
    if DISTIL in experiment.training.method and not hasattr(resolve(kind, TASKS, where="task.kind"), "distil_loss"):
        raise ConfigError(
            f"training.method lists distil, but the task {kind!r} has no distil_loss",
            fix="--set training.method=[full], or give the task that method (lft_ray/tasks/base.py says how)",
        )


def _is_finished(record: TrialRecord) -> bool:
    return record.status is TrialStatus.DONE and record.role == "search" and bool(record.variants)


def _reference_f1(record: TrialRecord) -> float:
    """F1 of the variant that the search models: the first precision at the trained length."""
    length = record.config.max_length
    return next((v.f1 for v in record.variants if v.max_length == length), record.variants[0].f1)
