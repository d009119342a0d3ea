"""Progress of a running search: a live table on a terminal, plain lines elsewhere.

In: events of the study, from any thread. Out: text on stderr. Without a terminal, or with NO_COLOR set, each ended
trial is printed as one line, with a progress line at least every 10 seconds. Never imports Ray.
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

__all__ = ["NUMBERS", "LiveTable", "Row", "busy_text"]

NUMBERS = ("lr", "batch", "epochs", "progress", "F1", "$/million", "$ so far", "ETA")
"""Headings of the numeric columns, between model size and state."""
OPEN_STATES = {"running", "waiting"}
"""States of a trial that has not ended: with a worker, and without one yet."""
BUSY_AFTER_S, BUSY_SHARE = 5.0, 0.5
"""A trial on processors that took this long, and got less than this share of a core, shared them with other work."""
STYLES = {"waiting": "dim", "running": "", "done": "green", "stopped": "yellow", "failed": "red", "infeasible": "red"}
"""State -> color."""
PROGRESS_INTERVAL_S = 9.0
"""Maximum seconds between two plain lines; with the half second of the ticker it stays below 10."""
RATE_AFTER_S = 10.0
"""Seconds of a session after which its dollars per hour are shown: one short trial would give an absurd rate."""


def busy_text(record: TrialRecord) -> str:
    """``got 9% of a core`` for a trial on processors that shared them with other work; else empty."""
    usage = record.usage
    if usage.device_s or usage.wall_s < BUSY_AFTER_S or not 0.0 < usage.core_s < BUSY_SHARE * usage.wall_s:
        return ""
    return f"got {usage.core_s / usage.wall_s:.0%} of a core: the machine is busy with other work"


@dataclass(slots=True)
class Row:
    """Displayed state of one trial; ``started_s`` is its start on the monotonic clock."""

    config: TrialConfig
    started_s: float
    state: str = "waiting"
    fraction: float = 0.0
    f1: float | None = None
    usd_per_million: float | None = None
    training_usd: float | None = None
    took_s: float | None = None
    variant: str = ""
    """Variant to which F1 and dollars belong, if the trial has several."""

    def cells(self, trial_id: str) -> list[str | Text]:
        """Cells of the table: trial, model size, the columns of `NUMBERS`, state."""
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
        """Describe how the trial ended, in one line."""
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
        remarks = [text for text in (record.reason, record.note, busy_text(record)) if text]
        return " ".join(words) + (f" ({'; '.join(remarks)})" if remarks else "")

    def _eta_s(self) -> float | None:
        """Estimated seconds to the end at the current pace; None before the first report."""
        if self.fraction <= 0.0:
            return None
        return (time.monotonic() - self.started_s) * (1.0 - self.fraction) / self.fraction


@dataclass(slots=True)
class _State:
    rows: dict[str, Row] = field(default_factory=dict)
    spent_usd: float = 0.0
    session_usd: float = 0.0
    """Dollars of trials that were started in this session, for the rate."""
    note: str = ""


class LiveTable:
    """Shows the progress of a search; use it as a context manager. It is a listener of the study.

    Args:
        total_trials: maximum number of search trials.
        console: where to write, normally stderr, because stdout is for data; None: silent.
        budget_usd: budget of the study in dollars; None: no limit.
        minutes: time limit of the study in wall-clock minutes; None: no limit.
        spent_usd: dollars spent by earlier sessions of a resumed study.
        progress_interval_s: seconds without output after which a plain progress line is written.
    """

    def __init__(
        self,
        total_trials: int,
        *,
        console: Console | None,
        budget_usd: float | None = None,
        minutes: float | None = None,
        spent_usd: float = 0.0,
        progress_interval_s: float = PROGRESS_INTERVAL_S,
    ) -> None:
        self._total = total_trials
        self._budget_usd = budget_usd
        self._minutes = minutes
        self._console = console
        self._progress_interval_s = progress_interval_s
        self._state = _State(spent_usd=spent_usd)
        self._budget: Budget | None = None
        self._lock = threading.RLock()
        self._started_s = time.monotonic()
        self._last_line_s = self._started_s
        self._closed = threading.Event()
        self._ticker: threading.Thread | None = None
        self._live: Live | None = None
        self.is_live = (
            console is not None and console.is_terminal and not (console.no_color or console.is_dumb_terminal)
        )

    def __enter__(self) -> Self:
        self._started_s = self._last_line_s = time.monotonic()
        if self.is_live:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2, transient=False)
            self._live.start()
        elif self._console is not None:
            self._print_line(self._progress_line())
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
            self._print_line(self._header())

    def trial_started(self, trial_id: str, config: TrialConfig, *, usd_per_million: float | None = None) -> None:
        """Show a started trial.

        Args:
            trial_id: id of the trial.
            config: its configuration.
            usd_per_million: measured serving cost of its model size; None: not measured.
        """
        with self._lock:
            row = Row(config=config, started_s=time.monotonic(), usd_per_million=usd_per_million)
            self._state.rows[trial_id] = row
            self._state.note = ""

    def trial_progress(
        self, trial_id: str, fraction: float, f1: float | None = None, *, training_usd: float | None = None
    ) -> None:
        """Update a running trial.

        Args:
            trial_id: id of the trial.
            fraction: fraction of its schedule, from 0 to 1.
            f1: validation F1; None: unchanged.
            training_usd: training cost so far in dollars; None: unchanged.
        """
        with self._lock:
            row = self._state.rows.get(trial_id)
            if row is not None:
                row.state = "running" if row.state == "waiting" else row.state
                row.fraction = fraction
                row.f1 = f1 if f1 is not None else row.f1
                row.training_usd = training_usd if training_usd is not None else row.training_usd

    def trial_ended(self, record: TrialRecord) -> None:
        """Show how a trial ended; also for trials of an earlier session."""
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
            self._print_line(row.ended_line(record))

    def note(self, text: str) -> None:
        """Show what the search is waiting for, such as ``waiting for 2 CPUs, the cluster has 1``; empty: nothing."""
        with self._lock:
            changed = text != self._state.note
            self._state.note = text
        if changed and text and not self.is_live:
            self._print_line(text)

    # ------------------------------------------------------------ listener of the study

    def on_budget(self, budget: Budget) -> None:
        """From now on, read dollars and minutes from the budget of the study."""
        with self._lock:
            self._budget = budget

    def on_start(self, trial: StartedTrial) -> None:
        """A trial was started, or started again."""
        self.trial_started(trial.trial_id, trial.config)

    def on_placed(self, trial_id: str) -> None:
        """A worker is there for a started trial."""
        with self._lock:
            row = self._state.rows.get(trial_id)
            if row is not None and row.state == "waiting":
                row.state = "running"

    def on_note(self, text: str) -> None:
        """Something happened to a trial, such as a killed worker; a trial that starts removes the line again."""
        self.note(text)

    def on_point(self, trial_id: str, point: CurvePoint) -> None:
        """A running trial was evaluated."""
        self.trial_progress(trial_id, point.fraction, point.f1)

    def on_record(self, record: TrialRecord) -> None:
        """A trial ended, and its record is in the ledger."""
        self.trial_ended(record)

    # ------------------------------------------------------------ plain lines

    def _print_line(self, line: str) -> None:
        if self._console is None:
            return
        with self._lock:
            # Bypass rich, which would wrap the line at a default width.
            self._console.file.write(line + "\n")
            self._console.file.flush()
            self._last_line_s = time.monotonic()

    def _tick(self) -> None:
        while not self._closed.wait(min(0.5, self._progress_interval_s / 4)):
            if time.monotonic() - self._last_line_s >= self._progress_interval_s:
                self._print_line(self._progress_line())

    def _progress_line(self) -> str:
        with self._lock:
            running = [(i, r) for i, r in self._state.rows.items() if r.state == "running"]
            waiting = [(i, r) for i, r in self._state.rows.items() if r.state == "waiting"]
            note = self._state.note
        trials = ", ".join(
            f"{trial_id} {row.config.model_size} {percent(row.fraction)}" for trial_id, row in running[:4]
        )
        more = f" and {len(running) - 4} more" if len(running) > 4 else ""
        activity = f"running {trials}{more}" if running else "" if waiting else "waiting for the first trial to start"
        if waiting:
            since_s = max(time.monotonic() - row.started_s for _, row in waiting)
            names = ", ".join(f"{trial_id} {row.config.model_size}" for trial_id, row in waiting[:4])
            wait = f"waiting for a worker: {names} (for {duration(since_s)})"
            activity = f"{activity} | {wait}" if activity else wait
        if note and running:
            return f"{self._header()} | {activity} | {note}"
        return f"{self._header()} | {note or activity}"

    # ------------------------------------------------------------ shared by table and lines

    def _header(self) -> str:
        with self._lock:
            ended = sum(row.state not in OPEN_STATES for row in self._state.rows.values())
            scores = [row.f1 for row in self._state.rows.values() if row.state == "done" and row.f1 is not None]
            spent = self._state.spent_usd
            # Fresh-seed runs come on top of the search trials.
            total = max(self._total, len(self._state.rows))
        parts = [f"{ended} of {total} trials", *self._money(spent), self._time()]
        if scores:
            parts.append(f"best F1 {score(max(scores))}")
        return " | ".join(parts)

    def _money(self, spent_usd: float) -> list[str]:
        """Dollars spent, reserved for running trials, and left; without a budget, the rate of this session."""
        if self._budget_usd is None:
            hours = (time.monotonic() - self._started_s) / 3600.0
            with self._lock:
                session_usd = self._state.session_usd
            rate = f" ({usd(session_usd / hours)} per hour)" if session_usd and hours * 3600.0 >= RATE_AFTER_S else ""
            return [f"{usd(spent_usd)} spent{rate}"]
        budget = self._budget
        reserved_usd = budget.reserved_usd if budget else 0.0
        left_usd = max(0.0, self._budget_usd - spent_usd - reserved_usd)
        confirmation_usd = min(left_usd, budget.confirmation_reserve_usd) if budget else 0.0
        confirmation = f" ({usd(confirmation_usd)} for fresh seeds)" if confirmation_usd else ""
        return [
            f"{usd(spent_usd)} of {usd(self._budget_usd)}",
            f"{usd(reserved_usd)} reserved, {usd(left_usd)} left{confirmation}",
        ]

    def _time(self) -> str:
        elapsed_s = time.monotonic() - self._started_s
        if self._minutes is None:
            return duration(elapsed_s)
        limit_s = self._minutes * 60.0
        deadline_s = self._budget.deadline_s("confirm") if self._budget else None
        # Only the budget knows the minutes that earlier sessions of a resumed search have used.
        left_s = limit_s - elapsed_s if deadline_s is None else deadline_s - time.time()
        return f"{duration(limit_s - left_s)} of {duration(limit_s)}, {duration(max(0.0, left_s))} left"

    def _rows(self) -> list[tuple[str, Row]]:
        return list(self._state.rows.items())

    def _render(self) -> Group:
        with self._lock:
            rows = sorted(
                self._state.rows.items(), key=lambda item: (item[1].state in OPEN_STATES, trial_order(item[0]))
            )
            note = self._state.note
        # Show the newest rows that fit: header, note and table lines take 6 lines of the terminal.
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
