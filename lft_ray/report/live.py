"""What a running search shows: a live table on a terminal, plain lines elsewhere. In: events. Out: text on stderr.

No Ray here: the searcher and the scheduler call the methods, from any thread. On anything but a terminal, or with
NO_COLOR set, each finished trial is one line, and a progress line follows at least every 10 seconds.
"""

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lft_ray.cost.budget import Budget
from lft_ray.records import CurvePoint, TrialConfig, TrialRecord, TrialStatus
from lft_ray.report.formats import (
    DASH,
    count,
    duration,
    learning_rate,
    notable_method,
    percent,
    score,
    usd,
    variant_text,
)
from lft_ray.run.ledger import StartedTrial, trial_order

__all__ = ["NUMBERS", "LiveTable", "Row"]

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


SILENCE_S = 9.0
"""Seconds without a line before one is written: with the ticker's half second it stays under 10."""
RATE_AFTER_S = 10.0
"""Seconds of a session before its dollars an hour are shown."""


@dataclass(slots=True)
class _State:
    rows: dict[str, Row] = field(default_factory=dict)
    spent_usd: float = 0.0
    session_usd: float = 0.0
    """Of trials that began in this session: what the rate is made of."""
    note: str = ""


class LiveTable:
    """Shows a search while it works; use it as a context manager.

    Args:
        total_trials: trials that are planned, at most.
        console: where to write, normally stderr, because stdout is for data; None is silent.
        budget_usd: the study's limit in dollars, if it has one.
        minutes: the study's limit in wall minutes, if it has one.
        spent_usd: dollars of earlier sessions of a resumed study.
        silence_s: seconds after which a plain progress line is written.
    """

    def __init__(
        self,
        total_trials: int,
        *,
        console: Console | None,
        budget_usd: float | None = None,
        minutes: float | None = None,
        spent_usd: float = 0.0,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._total = total_trials
        self._budget_usd = budget_usd
        self._minutes = minutes
        self._console = console
        self._silence_s = silence_s
        self._state = _State(spent_usd=spent_usd)
        self._budget: Budget | None = None
        self._lock = threading.RLock()
        self._started_s = time.monotonic()
        self._spoken_s = self._started_s
        self._closed = threading.Event()
        self._ticker: threading.Thread | None = None
        self._live: Live | None = None
        self.is_live = (
            console is not None and console.is_terminal and not (console.no_color or console.is_dumb_terminal)
        )

    def __enter__(self) -> Self:
        self._started_s = self._spoken_s = time.monotonic()
        if self.is_live:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2, transient=False)
            self._live.start()
        elif self._console is not None:
            self._say(self._progress_line())
            self._ticker = threading.Thread(target=self._tick, name="lft-progress", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._live is not None:
            self._live.stop()
        if self._ticker is not None:
            self._ticker.join(timeout=1.0)
        if not self.is_live:
            self._say(self._header())

    def trial_started(self, trial_id: str, config: TrialConfig, *, usd_per_million: float | None = None) -> None:
        """A trial began. ``usd_per_million``: what its architecture was measured to cost to serve."""
        with self._lock:
            row = Row(config=config, started_s=time.monotonic(), usd_per_million=usd_per_million)
            self._state.rows[trial_id] = row
            self._state.note = ""

    def trial_progress(
        self, trial_id: str, fraction: float, f1: float | None = None, *, training_usd: float | None = None
    ) -> None:
        """A trial reported: share of its schedule (0 to 1), validation F1 and, where known, its dollars so far."""
        with self._lock:
            row = self._state.rows.get(trial_id)
            if row is not None:
                row.fraction = fraction
                row.f1 = f1 if f1 is not None else row.f1
                row.training_usd = training_usd if training_usd is not None else row.training_usd

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial ended, however it did. Trials of an earlier session may be given too."""
        shown = record.reference_variant
        with self._lock:
            known = self._state.rows.get(record.trial_id)
            row = known or Row(config=record.config, started_s=time.monotonic())
            row.state = record.status.value
            row.fraction = 1.0 if record.status is TrialStatus.DONE else row.fraction
            row.f1 = shown.f1 if shown else None
            row.usd_per_million = shown.usd_per_million_predictions if shown else row.usd_per_million
            row.variant = variant_text(shown) if shown and len(record.variants) > 1 else ""
            row.training_usd = record.training_usd
            row.took_s = record.usage.wall_s
            self._state.rows[record.trial_id] = row
            self._state.spent_usd += record.training_usd
            self._state.session_usd += record.training_usd if known else 0.0
        if not self.is_live:
            self._say(row.ended_line(record))

    def note(self, text: str) -> None:
        """Say what is being waited for, such as ``waiting for 2 CPUs, the cluster has 1``."""
        with self._lock:
            changed = text != self._state.note
            self._state.note = text
        if changed and text and not self.is_live:
            self._say(text)

    # ------------------------------------------------------------ the study's listener

    def on_budget(self, budget: Budget) -> None:
        """Read dollars and minutes from the study's own budget from now on."""
        with self._lock:
            self._budget = budget

    def on_start(self, trial: StartedTrial) -> None:
        """A trial was started, or started again."""
        self.trial_started(trial.trial_id, trial.config)

    def on_point(self, trial_id: str, point: CurvePoint) -> None:
        """A running trial was evaluated."""
        self.trial_progress(trial_id, point.fraction, point.f1)

    def on_record(self, record: TrialRecord) -> None:
        """A trial ended, and its record is in the ledger."""
        self.trial_ended(record)

    # ------------------------------------------------------------ plain lines

    def _say(self, line: str) -> None:
        if self._console is None:
            return
        with self._lock:
            # Past rich: it would wrap the line at the width of a terminal that is not there.
            self._console.file.write(line + "\n")
            self._console.file.flush()
            self._spoken_s = time.monotonic()

    def _tick(self) -> None:
        while not self._closed.wait(min(0.5, self._silence_s / 4)):
            if time.monotonic() - self._spoken_s >= self._silence_s:
                self._say(self._progress_line())

    def _progress_line(self) -> str:
        with self._lock:
            running = [(i, r) for i, r in self._state.rows.items() if r.state == "running"]
            note = self._state.note
        works = ", ".join(
            f"{trial_id} {row.config.model_size} {percent(row.fraction)}" for trial_id, row in running[:4]
        )
        more = f" and {len(running) - 4} more" if len(running) > 4 else ""
        waits = f"running {works}{more}" if running else "waiting for the first trial to start"
        return (
            f"{self._header()} | {note or waits}" if not (note and running) else f"{self._header()} | {waits} | {note}"
        )

    # ------------------------------------------------------------ both

    def _header(self) -> str:
        with self._lock:
            ended = sum(row.state != "running" for row in self._state.rows.values())
            scores = [row.f1 for row in self._state.rows.values() if row.state == "done" and row.f1 is not None]
            spent = self._state.spent_usd
            # Runs with fresh seeds come on top of the planned trials.
            total = max(self._total, len(self._state.rows))
        parts = [f"{ended} of {total} trials", *self._money(spent), self._time()]
        if scores:
            parts.append(f"best F1 {score(max(scores))}")
        return " | ".join(parts)

    def _money(self, spent_usd: float) -> list[str]:
        """Dollars spent, promised to running trials, and left; without a limit the rate of this session."""
        if self._budget_usd is None:
            hours = (time.monotonic() - self._started_s) / 3600.0
            with self._lock:
                session_usd = self._state.session_usd
            # In the first seconds a rate says nothing: one short trial would read as a fortune.
            rate = f" ({usd(session_usd / hours)} an hour)" if session_usd and hours * 3600.0 >= RATE_AFTER_S else ""
            return [f"{usd(spent_usd)} spent{rate}"]
        budget = self._budget
        reserved_usd = budget.reserved_usd if budget else 0.0
        left_usd = max(0.0, self._budget_usd - spent_usd - reserved_usd)
        kept_usd = min(left_usd, budget.kept_for_confirmation_usd) if budget else 0.0
        kept = f" ({usd(kept_usd)} kept for fresh seeds)" if kept_usd else ""
        return [
            f"{usd(spent_usd)} of {usd(self._budget_usd)}",
            f"{usd(reserved_usd)} reserved, {usd(left_usd)} left{kept}",
        ]

    def _time(self) -> str:
        elapsed_s = time.monotonic() - self._started_s
        if self._minutes is None:
            return duration(elapsed_s)
        limit_s = self._minutes * 60.0
        deadline_s = self._budget.deadline_s("confirm") if self._budget else None
        # A resumed search has used up minutes before: only its budget knows.
        left_s = limit_s - elapsed_s if deadline_s is None else deadline_s - time.time()
        return f"{duration(limit_s - left_s)} of {duration(limit_s)}, {duration(max(0.0, left_s))} left"

    def _render(self) -> Group:
        with self._lock:
            rows = sorted(self._state.rows.items(), key=lambda item: (item[1].state == "running", trial_order(item[0])))
            note = self._state.note
        # The newest rows matter; the header, the note and the table's own lines need 6 of the terminal's.
        room = max(5, (self._console.height if self._console else 30) - 6)
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("trial")
        table.add_column("model size")
        for name in NUMBERS:
            table.add_column(name, justify="right")
        table.add_column("state")
        has_variants = any(row.variant for _, row in rows)
        if has_variants:
            table.add_column("variant")
        for trial_id, row in rows[-room:]:
            table.add_row(*row.cells(trial_id), *([row.variant] if has_variants else []))
        hidden = len(rows) - room
        above = Text(f"{hidden} earlier trials not shown", style="dim") if hidden > 0 else Text("")
        return Group(Text(self._header(), style="bold"), above, table, Text(note, style="yellow"))
