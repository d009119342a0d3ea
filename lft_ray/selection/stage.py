"""Does a rounded checkpoint answer as it does in fp32? In: records of runs. Out: checks, and a winner that passed.

int8 and bf16 may change labels. A rounded winner is shipped only where enough of the validation rows keep their label,
and where the F1 that is lost to rounding is below the margin with 95% confidence (paired bootstrap over the rows). Else
it may not win, and the choice is made again among the others: its own fp32 is one of them.
"""

from collections.abc import Sequence

import numpy as np

from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.errors import NoWinnerError
from lft_ray.records import FrontPoint, PrecisionCheck, Selection, TrialRecord
from lft_ray.selection.decide import Evidence, decide, runs_compared
from lft_ray.selection.metrics import METRICS, scores
from lft_ray.selection.predictions import load_evidence
from lft_ray.selection.reason import metric_name
from lft_ray.selection.significance import resample

__all__ = ["LEAST_AGREEMENT", "check_reduced_precision", "choose_winner"]

REFERENCE = "fp32"
LEAST_AGREEMENT = {"fp32": 0.999, "bf16": 0.99, "int8": 0.99}
"""Share of texts with the same labels. Of fp32's, bf16 gave .997 and int8 .991 on AG News with a .870 model. What int8
answers also depends a little on the batch: the scale of an activation is that of all its texts."""


def choose_winner(
    records: Sequence[TrialRecord],
    spec: SelectionSpec,
    cost: CostSpec,
    *,
    metric: str = "macro_f1",
    validation_rows: int = 2000,
    seed: int = 0,
) -> Selection:
    """Decide on what the finalists answered; a rounded winner that answers otherwise than in fp32 is left out.

    Args:
        records: the ledger; saved predictions are read from storage.
        spec: policy, margin and the cap on dollars.
        cost: the latency cap.
        metric: name of the score.
        validation_rows: rows that F1 was measured on.
        seed: of the bootstraps.

    Raises:
        NoWinnerError: no finished trial satisfies the caps, or only refused ones do.
    """
    checks: list[PrecisionCheck] = []
    while True:
        try:
            compared = runs_compared(records, spec, cost, validation_rows=validation_rows)
            evidence = load_evidence(records, compared, seed=seed)
            chosen = decide(records, spec, cost, metric=metric, validation_rows=validation_rows, evidence=evidence)
        except NoWinnerError as error:
            refused = "".join(f" Refused: {check.reason}." for check in checks)
            raise NoWinnerError(f"{error.message}{refused}", fix=error.fix) from None
        run = next(record for record in records if record.trial_id == chosen.winner_seed_trial_id)
        check = check_reduced_precision(run, chosen.winner, metric=metric, margin=spec.margin, seed=seed)
        if check is not None:
            checks.append(check)
        if check is None or check.passed:
            return chosen.replace(precision_checks=checks)
        records = _without(records, chosen.winner)


def check_reduced_precision(
    run: TrialRecord, point: FrontPoint, *, metric: str, margin: float, seed: int = 0
) -> PrecisionCheck | None:
    """Compare a run's rounded answers on validation with its answers in fp32, at the same text length.

    Args:
        run: whose checkpoint is shipped.
        point: its precision and length are checked.
        metric: name of the score.
        margin: F1 that may be lost, as a fraction.
        seed: of the bootstrap.

    Returns:
        None in fp32, and where fp32 is not among the precisions of the experiment: its F1 was measured as it is served,
        and there is nothing else to ship.
    """
    lengths = {v.max_length for v in run.variants if v.precision == REFERENCE}
    if point.precision == REFERENCE or point.max_length not in lengths:
        return None
    keys = [(run.trial_id, precision, point.max_length) for precision in (REFERENCE, point.precision)]
    evidence = load_evidence([run], keys, seed=seed)
    facts = point.model_dump(include={"model_size", "precision", "max_length"}) | {"trial_id": run.trial_id}
    what = f"{point.precision} of {run.trial_id} ({point.model_size}, {point.max_length} tokens)"
    if evidence is None or not _gives_f1_back(run, evidence, metric):
        reason = f"{what} is not known to answer as fp32 does: its saved predictions are missing or of another task"
        return PrecisionCheck(**facts, reason=reason)
    exact, rounded = (evidence.answers[key] for key in keys)
    same = exact == rounded
    agreement = float((same if same.ndim == 1 else same.all(axis=1)).mean())
    difference = resample(evidence.truth, [[exact], [rounded]], metric=metric, seed=seed).difference(1, 0)
    rows = len(evidence.truth)
    loss = difference.loss
    upper = difference.upper()
    least = LEAST_AGREEMENT[point.precision]
    passed = agreement >= least and upper <= margin
    rule = "" if passed else f"; at least {least:.0%} and at most {margin * 100:g} points are asked for"
    reason = (
        f"{what} gives {agreement:.2%} of {rows:,} validation rows the labels that fp32 gives them, and "
        f"loses {_points(loss)} points of {metric_name(metric)}, at most {_points(upper)} (95%){rule}"
    )
    found = {"rows": rows, "agreement": agreement, "f1_loss": loss, "f1_loss_upper": upper, "passed": passed}
    return PrecisionCheck(**facts, **found, reason=reason)


def _gives_f1_back(run: TrialRecord, evidence: Evidence, metric: str) -> bool:
    """Whether the saved answers are what was scored: those of a task that decodes otherwise are not."""
    if metric not in METRICS:
        return False
    recorded = {(run.trial_id, v.precision, v.max_length): v.f1 for v in run.variants}
    again = scores(evidence.truth, list(evidence.answers.values()), metric)
    return bool(np.allclose(again, [recorded[key] for key in evidence.answers], atol=1e-6))


def _without(records: Sequence[TrialRecord], point: FrontPoint) -> list[TrialRecord]:
    """The records as if the point had not been offered, neither in its search trial nor in its fresh-seed runs."""
    refused = (point.precision, point.max_length)
    return [
        record
        if point.trial_id not in (record.trial_id, record.confirms)
        else record.replace(variants=[v for v in record.variants if (v.precision, v.max_length) != refused])
        for record in records
    ]


def _points(f1: float) -> str:
    return f"{f1 * 100 + 0.0:.2f}".replace("-0.00", "0.00")
