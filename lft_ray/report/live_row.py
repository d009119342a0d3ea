"""One trial as a running search shows it: cells of the live table, and a line on how it ended. Writes nothing."""

import time
from dataclasses import dataclass

from rich.text import Text

from lft_ray.records import TrialConfig, TrialRecord
from lft_ray.report.formats import DASH, count, duration, learning_rate, notable_method, percent, score, usd

__all__ = ["NUMBERS", "Row"]

NUMBERS = ("lr", "batch", "epochs", "progress", "F1", "$/million", "$ so far", "ETA")
"""Headings between the model size and the state."""
STYLES = {"running": "", "done": "green", "stopped": "yellow", "failed": "red", "infeasible": "red"}


@dataclass(slots=True)
class Row:
    """What is known of a trial that began ``started_s`` seconds into the monotonic clock."""

    config: TrialConfig
    started_s: float
    state: str = "running"
    fraction: float = 0.0
    f1: float | None = None
    usd_per_million: float | None = None
    training_usd: float | None = None
    took_s: float | None = None
    variant: str = ""
    """Which of several F1 and dollars are of."""

    def cells(self, trial_id: str) -> list[str | Text]:
        """Trial, model size, the `NUMBERS`, state."""
        config = self.config
        return [
            trial_id,
            f"{config.model_size} {notable_method(config)}".strip(),
            learning_rate(config.learning_rate),
            count(config.batch_size),
            count(config.epochs),
            percent(self.fraction),
            score(self.f1),
            usd(self.usd_per_million),
            usd(self.training_usd),
            duration(self._eta_s()) if self.state == "running" else DASH,
            Text(self.state, style=STYLES.get(self.state, "")),
        ]

    def ended_line(self, record: TrialRecord) -> str:
        """How the trial ended, in one line."""
        config = record.config
        words = [record.trial_id, config.model_size, self.state]
        if self.f1 is not None:
            words += ["F1", score(self.f1), usd(self.usd_per_million), "per million"]
            words += [f"({self.variant})"] if self.variant else []
        if config.learning_rate is not None:
            words += ["lr", learning_rate(config.learning_rate), "batch", str(config.batch_size)]
            words += ["epochs", str(config.epochs)]
        words += [how] if (how := notable_method(config)) else []
        words += [duration(self.took_s), usd(record.training_usd)]
        return " ".join(words) + (f" ({record.reason})" if record.reason else "")

    def _eta_s(self) -> float | None:
        """Seconds to the end at the pace so far; None before the first report."""
        if self.fraction <= 0.0:
            return None
        return (time.monotonic() - self.started_s) * (1.0 - self.fraction) / self.fraction
