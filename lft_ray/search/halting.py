"""A Tune callback that ends the loop between two steps: for an interrupt, or an error that Tune must not swallow."""

from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from lft_ray.search.interrupts import Interrupt

if TYPE_CHECKING:
    from lft_ray.search.searcher import StudySearcher

__all__ = ["Halting"]


class Halting(Callback):
    """Raises what stopped the study.

    Args:
        searcher: its ``fatal`` error is raised.
        interrupt: raises KeyboardInterrupt when set.
    """

    def __init__(self, searcher: "StudySearcher", interrupt: Interrupt) -> None:
        self._searcher = searcher
        self._interrupt = interrupt

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look once per step (at least ten a second)."""
        del iteration, info
        for trial in trials:
            if trial.status == trial.ERROR:
                self._searcher.note_lost(trial.trial_id)
        self._interrupt.raise_if_set()
        if self._searcher.fatal is not None:
            raise self._searcher.fatal

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into its own folder, which nothing reads.
        return {}
