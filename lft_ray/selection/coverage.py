"""What a study tried and what it did not: trials by status and cause for each model size, and its confirmation runs.

In: trial records, started trials, the sizes of the study. Out: `SizeCoverage` rows, `ConfirmationCount`, sentences.
Pure. Never decides. A size that the study could not finish is a row like the others: whoever reads a ladder must see
that a size is missing because nobody trained it, not because it was no good.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lft_ray.candidates import Candidates
from lft_ray.config import SearchSpec
from lft_ray.cost.caps import Caps
from lft_ray.cost.dollars import price_variant
from lft_ray.records import (
    ConfirmationCount,
    PricedVariant,
    ProfileBook,
    Record,
    SizeCoverage,
    SizeOutcome,
    TrialRecord,
    TrialStatus,
    VerdictKind,
)
from lft_ray.run.ledger import StartedTrial

__all__ = [
    "REFUSED",
    "Limits",
    "Refused",
    "confirmation_count",
    "confirmation_sentence",
    "confirmation_trouble",
    "coverage_of",
    "coverage_sentence",
    "mostly_failed",
    "untried",
]

REFUSED = "refused.json"
"""File of the run folder: why the start trial of a model size was not started."""
UNFINISHED = "unfinished"
CAUSE_CHARS = 160
"""Longest cause that is quoted in a sentence; the record of the trial has all of it."""


class Refused(Record):
    """``refused.json``, written at the end of every session of a search."""

    sizes: dict[str, str]
    """Model size -> why its start trial did not fit the remaining time or money."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What kept a study from trying a size.

    Attributes:
        search: trials, minutes and dollars of the study.
        caps: caps on serving cost and latency.
        refused: model size -> why its start trial was refused, as the search recorded it.
        is_over: whether the search has ended; before that a size may still be tried.
    """

    search: SearchSpec
    caps: Caps
    refused: Mapping[str, str] = field(default_factory=dict)
    is_over: bool = True


def coverage_of(
    candidates: Candidates,
    book: ProfileBook | None,
    records: Iterable[TrialRecord],
    started: Iterable[StartedTrial],
    limits: Limits,
    *,
    utilisation: float,
) -> list[SizeCoverage]:
    """One row per model size of the study, cheapest to serve first; sizes that were not profiled come last.

    Args:
        candidates: model sizes and prices of the study.
        book: measured serving profiles; None: not measured yet.
        records: all ended trials.
        started: all started trials; those without a record are unfinished.
        limits: limits of the study.
        utilisation: busy fraction of a paid core.
    """
    by_size: dict[str, list[TrialRecord]] = {}
    ended = set()
    for record in records:
        ended.add(record.trial_id)
        if record.role == "search":
            by_size.setdefault(record.config.model_size, []).append(record)
    open_trials = [t for t in started if t.role == "search" and t.trial_id not in ended]
    running = Counter(t.config.model_size for t in open_trials)
    count = sum(map(len, by_size.values())) + running.total()
    rows = []
    for size in candidates.sizes:
        offered = _priced(candidates, book, size.name, utilisation)
        rows.append(_row(size.name, by_size.get(size.name, []), running[size.name], offered, limits, count))
    return sorted(
        rows, key=lambda r: (r.usd_per_million_predictions is None, r.usd_per_million_predictions or 0.0, r.model_size)
    )


def _priced(
    candidates: Candidates, book: ProfileBook | None, size: str, utilisation: float
) -> list[PricedVariant] | None:
    """The priced variants of a size; None: no size was profiled yet."""
    if book is None:
        return None
    found = [price_variant(v, size, book, candidates.price, utilisation=utilisation) for v in candidates.variants[size]]
    return [variant for variant in found if variant is not None]


def _row(
    name: str,
    records: Sequence[TrialRecord],
    running: int,
    offered: list[PricedVariant] | None,
    limits: Limits,
    trials: int,
) -> SizeCoverage:
    statuses = Counter(record.status for record in records)
    counts = {status.value: statuses[status] for status in TrialStatus if statuses[status]}
    causes = Counter(r.reason or r.status.value for r in records if r.status is not TrialStatus.DONE)
    outcome, reason = _outcome(name, statuses, causes, running, offered, limits, trials)
    return SizeCoverage(
        model_size=name,
        outcome=outcome,
        reason=reason,
        trials={**counts, UNFINISHED: running} if running else counts,
        causes=dict(causes.most_common()),
        usd_per_million_predictions=min((v.usd_per_million_predictions for v in offered or []), default=None),
    )


def _outcome(
    name: str,
    statuses: Mapping[TrialStatus, int],
    causes: "Counter[str]",
    running: int,
    offered: list[PricedVariant] | None,
    limits: Limits,
    trials: int,
) -> tuple[SizeOutcome, str]:
    """Outcome and reason. What its trials did comes before any limit: a limit explains only why there was no trial."""
    if statuses.get(TrialStatus.DONE):
        return SizeOutcome.FINISHED, ""
    if running:
        return SizeOutcome.UNFINISHED, "started, not finished" + ("; --resume continues it" if limits.is_over else "")
    cause = _cause(causes)
    if statuses.get(TrialStatus.FAILED):
        return SizeOutcome.FAILED, f"failed: {cause}"
    if statuses.get(TrialStatus.INFEASIBLE):
        return SizeOutcome.INFEASIBLE, f"infeasible: {cause}"
    if statuses.get(TrialStatus.STOPPED):
        return SizeOutcome.STOPPED, f"stopped early: {cause}"
    if offered is not None and not offered:
        return SizeOutcome.NOT_TRIED, "not tried: it has no serving profile"
    breaches = [limits.caps.breach(v.usd_per_million_predictions, v.p95_ms) for v in offered or []]
    if breaches and all(breaches):
        return SizeOutcome.OVER_CAP, f"over a cap: {breaches[0]}"
    if not limits.is_over:
        return SizeOutcome.NOT_TRIED, "not tried yet"
    return SizeOutcome.NOT_TRIED, f"not tried: {_limit(limits, limits.refused.get(name, ''), trials)}"


def _limit(limits: Limits, refused: str, trials: int) -> str:
    """Which limit kept a size from starting, from the recorded refusal or, without one, from the limits."""
    search = limits.search
    if refused:
        return f"out of {'money' if 'budget' in refused else 'time'} ({refused})"
    if trials >= search.trials:
        return f"out of trials (search.trials: {search.trials})"
    given = [word for word, limit in (("time", search.minutes), ("money", search.budget_usd)) if limit is not None]
    return f"out of {' or '.join(given)}" if given else "the search ended before its turn"


def untried(coverage: Iterable[SizeCoverage]) -> list[SizeCoverage]:
    """The sizes of which no trial finished."""
    return [row for row in coverage if row.outcome is not SizeOutcome.FINISHED]


def coverage_sentence(coverage: Iterable[SizeCoverage]) -> str:
    """One sentence that names every size without a finished trial, with the reason; empty if there is none."""
    by_reason: dict[str, list[str]] = {}
    for row in untried(coverage):
        by_reason.setdefault(row.reason, []).append(row.model_size)
    parts = "; ".join(f"{', '.join(sizes)} ({reason})" for reason, sizes in by_reason.items())
    return f"Not compared, as no trial of it finished: {parts}." if parts else ""


def mostly_failed(records: Iterable[TrialRecord]) -> str:
    """``4 of 6 trials failed: <most frequent cause>`` if at least half of the search's trials failed, else empty.

    A trial that was stopped by a rule or the clock did not fail, and is left out of the total: it says nothing about
    whether the machine could train.
    """
    ended = [r for r in records if r.role == "search" and r.status is not TrialStatus.STOPPED]
    failed = [r for r in ended if r.status is TrialStatus.FAILED]
    if not failed or 2 * len(failed) < len(ended):
        return ""
    return f"{len(failed)} of {len(ended)} trials failed: {_cause(Counter(r.reason or 'no reason' for r in failed))}"


def confirmation_count(records: Iterable[TrialRecord]) -> ConfirmationCount:
    """How the confirmation runs ended. A run that failed is not a run that was done."""
    runs = [record for record in records if record.role == "confirm"]
    statuses = Counter(record.status for record in runs)
    causes = Counter(r.reason or r.status.value for r in runs if r.status is not TrialStatus.DONE)
    done, failed = statuses[TrialStatus.DONE], statuses[TrialStatus.FAILED]
    return ConfirmationCount(
        done=done, failed=failed, stopped=len(runs) - done - failed, causes=dict(causes.most_common())
    )


def confirmation_sentence(count: ConfirmationCount) -> str:
    """``2 of 9 confirmation runs failed: <cause>``; empty if all of them finished."""
    if count.total == count.done:
        return ""
    parts = [f"{number} {word}" for number, word in ((count.failed, "failed"), (count.stopped, "stopped")) if number]
    noun = "confirmation run" if count.total == 1 else "confirmation runs"
    return f"{' and '.join(parts)} of {count.total} {noun}: {_cause(Counter(count.causes))}"


def confirmation_trouble(verdict: VerdictKind, count: ConfirmationCount) -> str:
    """Why a search did not end well although it has a winner: confirmation runs failed, and nothing was proven.

    Empty if no run failed, or if those that finished suffice for a proof: then the failures are a remark.
    """
    return confirmation_sentence(count) if count.failed and verdict is not VerdictKind.PROVEN else ""


def _cause(causes: "Counter[str]") -> str:
    """The most frequent cause on one line, and how many others there are."""
    if not causes:
        return "no reason"
    (first, _), others = causes.most_common(1)[0], len(causes) - 1
    line = " ".join(first.split())
    line = line if len(line) <= CAUSE_CHARS else f"{line[: CAUSE_CHARS - 1]}…"
    return line + (f" (and {others} other {'cause' if others == 1 else 'causes'})" if others else "")
