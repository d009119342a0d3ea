"""Choose the teacher of a distilled trial. In: ended trials, serving costs. Out: configurations with a teacher.

The teacher is the finished search trial with the highest F1 among sizes that are more expensive to serve than the
student, out of the trials that the proposal may see. It therefore depends on the ledger alone, and is recorded there.
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
    """Assigns teachers to distilled configurations.

    Attributes:
        cost: dollars per million predictions of a model size, known before training.
    """

    cost: Callable[[str], float]

    def assign(self, config: TrialConfig, observed: Sequence[TrialRecord]) -> TrialConfig | None:
        """The configuration with its teacher, or unchanged if it is not distilled; None if there is no teacher yet.

        Args:
            config: proposed configuration.
            observed: ended trials that the proposal may see, in any order.
        """
        if config.method != DISTILL:
            return config
        own = self.cost(config.model_size)
        larger = [
            (variant.f1, record)
            for record in observed
            if record.role == "search"
            and (variant := record.reference_variant) is not None
            and self.cost(record.config.model_size) > own
        ]
        if not larger:
            return None
        # Ties go to the earliest trial ID, so that the choice does not depend on the order in which trials ended.
        _, best = min(larger, key=lambda scored: (-scored[0], trial_order(scored[1].trial_id)))
        return config.replace(teacher=best.trial_id)


@dataclass(frozen=True, slots=True)
class WithTeachers:
    """A proposer that adds a teacher to distilled proposals, and proposes distillation only if there is a teacher.

    Attributes:
        proposer: proposer without teachers.
        teachers: assigns teachers to its proposals.
    """

    proposer: "ProposerProtocol"
    teachers: Teachers

    def warm_up(self) -> None:
        """See `ProposerProtocol.warm_up`."""
        self.proposer.warm_up()

    def propose(
        self,
        n: int,
        observed: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig | None:
        """Return the n-th proposal, with its teacher if it is distilled; see `ProposerProtocol.propose`."""

        def may_start(config: TrialConfig) -> bool:
            assigned = self.teachers.assign(config, observed)
            return assigned is not None and (fits is None or fits(assigned))

        config = self.proposer.propose(n, observed, pending, may_start)
        return config and self.teachers.assign(config, observed)


def or_in_full(config: TrialConfig) -> list[TrialConfig]:
    """The configuration and, if it is distilled, the same configuration with full fine-tuning as a fallback.

    Samplers do not know about teachers. A sampler that keeps proposing the largest size with distillation, which has no
    teacher, would be rejected every time, and the proposal would fall back to a random draw.
    """
    return [config] if config.method != DISTILL else [config, config.replace(method=FULL)]
