"""Who teaches a distilled trial. In: ended trials, what sizes cost to serve. Out: configurations that name a teacher.

It is the finished search trial of highest F1 among the sizes that are dearer to serve than the student, of
those that the proposal may see: so it follows from the ledger alone, and it is written there with the configuration.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lft_ray.config.methods import DISTILL, FULL
from lft_ray.records import TrialConfig, TrialRecord
from lft_ray.run.ledger import trial_order

if TYPE_CHECKING:
    from lft_ray.search.interfaces import ProposerProtocol

__all__ = ["Teachers", "WithTeachers", "or_in_full"]


@dataclass(frozen=True, slots=True)
class Teachers:
    """Gives distilled configurations their teacher.

    Attributes:
        cost: dollars per million predictions of a model size, known before it is trained.
    """

    cost: Callable[[str], float]

    def assign(self, config: TrialConfig, told: Sequence[TrialRecord]) -> TrialConfig | None:
        """The configuration with its teacher, as it is where it needs none; None when there is no teacher yet.

        Args:
            config: as proposed.
            told: ended trials that the proposal may see, in any order.
        """
        if config.method != DISTILL:
            return config
        own = self.cost(config.model_size)
        larger = [
            (variant.f1, record)
            for record in told
            if record.role == "search"
            and (variant := record.reference_variant) is not None
            and self.cost(record.config.model_size) > own
        ]
        if not larger:
            return None
        # Equal scores: the earliest trial, whatever the order in which they ended.
        _, best = min(larger, key=lambda scored: (-scored[0], trial_order(scored[1].trial_id)))
        return config.replace(teacher=best.trial_id)


@dataclass(frozen=True, slots=True)
class WithTeachers:
    """A proposer whose distilled proposals have a teacher, and are made only where there is one.

    Attributes:
        proposer: knows no teachers.
        teachers: assigned to what it proposes.
    """

    proposer: "ProposerProtocol"
    teachers: Teachers

    def warm_up(self) -> None:
        """See `ProposerProtocol.warm_up`."""
        self.proposer.warm_up()

    def propose(
        self,
        n: int,
        told: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig | None:
        """The n-th proposal, with its teacher if it is distilled; see `ProposerProtocol.propose`."""

        def may_start(config: TrialConfig) -> bool:
            taught = self.teachers.assign(config, told)
            return taught is not None and (fits is None or fits(taught))

        config = self.proposer.propose(n, told, pending, may_start)
        return config and self.teachers.assign(config, told)


def or_in_full(config: TrialConfig) -> list[TrialConfig]:
    """The configuration, and the same trained in full if it is distilled: best first.

    A sampler knows no teachers. One that is sure of the largest size distilled would be refused every time, and what it
    is asked for after that is a plain draw.
    """
    return [config] if config.method != DISTILL else [config, config.replace(method=FULL)]
