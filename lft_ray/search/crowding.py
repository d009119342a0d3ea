"""How many trials fit into the memory of this machine, learnt from those that were killed. Pure.

In: the memory of trials that run, and of one that died. Out: whether another may start beside them. Never forgets
within a study, and starts without an opinion.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lft_ray.causes import gigabytes

__all__ = ["Crowding", "out_of_memory_text"]


@dataclass(slots=True)
class Crowding:
    """Limits on trials at a time, by the memory that they need."""

    _limits: list[tuple[float, int]] = field(default_factory=list)
    """(bytes, count): of trials that need at least this much, no more than this many run at a time."""

    def learn(self, needed_bytes: float, at_once: int) -> None:
        """A trial of this need died for lack of memory while so many ran: from now on one fewer, but at least one."""
        self._limits.append((needed_bytes, max(1, at_once - 1)))

    def has_room(self, needed_bytes: float, running: Sequence[float]) -> bool:
        """Whether a trial of this need may start beside those that run.

        Args:
            needed_bytes: rough memory of the trial.
            running: the same of each running trial.
        """
        all_needs = [*running, needed_bytes]
        return all(len(all_needs) <= most for least, most in self._limits if any(need >= least for need in all_needs))


def out_of_memory_text(at_once: int, each_bytes: float, there_bytes: float | None) -> str:
    """``out of memory: 2 x 1.0 GB asked, 1.5 GB there``.

    Args:
        at_once: number of trials that ran.
        each_bytes: the largest memory of one of them; 0: unknown.
        there_bytes: memory of the machine or the container; None: unknown.
    """
    asked = f"{at_once} x {gigabytes(each_bytes)} asked" if each_bytes else f"{at_once} at a time"
    return f"out of memory: {asked}" + (f", {gigabytes(there_bytes)} there" if there_bytes else "")
