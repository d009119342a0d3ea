"""Whether a search mostly failed, and of what. In: trial records. Out: one line, or nothing. Pure."""

from collections import Counter
from collections.abc import Iterable

from lft_ray.records import TrialRecord, TrialStatus

__all__ = ["mostly_failed"]


def mostly_failed(records: Iterable[TrialRecord]) -> str:
    """``3 of 4 trials failed (2 out of memory, 1 configuration)``; empty if fewer than half of them failed.

    Trials that a rule or the clock stopped are left out: they say nothing about whether the machine could train.
    """
    ended = [record for record in records if record.role == "search" and record.status is not TrialStatus.STOPPED]
    failed = [record for record in ended if record.status is TrialStatus.FAILED]
    if not failed or 2 * len(failed) < len(ended):
        return ""
    causes = Counter(str(record.cause or "of a cause not recorded").replace("_", " ") for record in failed)
    listed = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
    return f"{len(failed)} of {len(ended)} trials failed ({listed})"
