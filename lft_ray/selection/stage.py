"""Entry of the select stage: choose the winner, and check a reduced-precision winner against its fp32 predictions.

In: trial records. Out: a `Selection` whose winner passed the check.

int8 and bf16 may change predictions. A reduced-precision winner is shipped only if enough validation rows have the same
prediction as in fp32, and if the F1 lost to rounding is below the margin with 95% confidence (paired bootstrap over the
rows). Otherwise it is excluded and the choice is repeated among the remaining points, its own fp32 variant included.
"""

from collections.abc import Sequence

from lft_ray.candidates import TaskRecord
from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.errors import NoWinnerError
from lft_ray.records import FrontPoint, Interval, PrecisionCheck, Selection, SizeCoverage, TrialRecord
from lft_ray.selection.decide import decide
from lft_ray.selection.evidence import Scorer
from lft_ray.selection.finalists import finalists
from lft_ray.selection.intervals import f1_intervals, interval_key, interval_of, with_intervals
from lft_ray.selection.predictions import load_evidence, load_saved
from lft_ray.selection.screening import Noise

__all__ = ["MIN_AGREEMENT", "check_reduced_precision", "choose_winner", "finalists_of"]

REFERENCE = "fp32"
MIN_AGREEMENT = {"fp32": 0.999, "bf16": 0.99, "int8": 0.99}
"""Minimum share of rows with the same prediction, by precision. On AG News, with a model of F1 .870, bf16 gave .997 and
int8 .991 of the texts the label of fp32. int8 predictions also depend slightly on the batch, because its texts share
the scale of an activation."""


def choose_winner(
    records: Sequence[TrialRecord],
    spec: SelectionSpec,
    cost: CostSpec,
    *,
    task: TaskRecord,
    validation_rows: int = 2000,
    seed: int = 0,
    coverage: Sequence[SizeCoverage] = (),
) -> Selection:
    """Choose the winner from the predictions of the finalists; exclude variants that differ too much from fp32.

    Args:
        records: trial records of the ledger; their saved predictions are read from storage.
        spec: policy, margin and the cap on serving cost.
        cost: the cap on latency.
        task: the task, whose metric is the score.
        validation_rows: number of rows that F1 was measured on.
        seed: random seed of the bootstraps.
        coverage: what became of each model size of the study.

    Raises:
        NoWinnerError: no finished trial is within the caps, or only variants that failed the check are.
    """
    checks: list[PrecisionCheck] = []
    scorer = Scorer(task.make(), task.metric)
    everything, evidence = records, load_saved(records, scorer, seed=seed)
    # Ends: each round that does not return removes one variant, and without variants `decide` raises.
    while True:
        try:
            chosen = decide(
                records,
                spec,
                cost,
                metric_name=scorer.metric_name,
                validation_rows=validation_rows,
                evidence=evidence,
                coverage=coverage,
            )
        except NoWinnerError as error:
            refused = "".join(f" Refused: {check.reason}." for check in checks)
            raise NoWinnerError(f"{error.message}{refused}", fix=error.fix) from None
        run = next(record for record in records if record.trial_id == chosen.winner_seed_trial_id)
        check = check_reduced_precision(run, chosen.winner, scorer, margin=spec.margin, seed=seed)
        if check is not None:
            checks.append(check)
        if check is None or check.passed:
            chosen = chosen.replace(precision_checks=checks)
            return _with_intervals(chosen, run, f1_intervals(everything, evidence))
        records = _without(records, chosen.winner)


def finalists_of(
    records: Sequence[TrialRecord],
    spec: SelectionSpec,
    cost: CostSpec,
    *,
    task: TaskRecord,
    validation_rows: int,
) -> list[FrontPoint]:
    """`finalists` with the saved predictions of the search, which are read from storage.

    Raises:
        NoWinnerError: no finished trial is within the caps.
    """
    evidence = load_saved(records, Scorer(task.make(), task.metric))
    return finalists(records, spec, cost, noise=Noise(validation_rows, evidence))


def _with_intervals(selection: Selection, run: TrialRecord, intervals: dict[str, Interval]) -> Selection:
    """The selection with an interval beside every F1.

    Args:
        selection: the decision.
        run: the trial whose checkpoint is shipped.
        intervals: intervals of the single runs; a mean over seeds has its own already.
    """
    winner = selection.winner
    shipped = run.variant(winner.precision, winner.max_length)
    return selection.replace(
        f1_intervals=intervals,
        front=with_intervals(selection.front, intervals),
        ladder=with_intervals(selection.ladder, intervals),
        finalists=with_intervals(selection.finalists, intervals),
        judged=[p if p.fresh_f1 else with_intervals([p], intervals)[0] for p in selection.judged],
        winner=winner if winner.f1_interval else winner.replace(f1_interval=interval_of(intervals, winner)),
        checkpoint_f1=shipped.f1 if shipped else None,
        checkpoint_f1_interval=intervals.get(interval_key(run.trial_id, winner.precision, winner.max_length)),
    )


def check_reduced_precision(
    run: TrialRecord, point: FrontPoint, scorer: Scorer, *, margin: float, seed: int = 0
) -> PrecisionCheck | None:
    """Compare the reduced-precision validation predictions of a run with those in fp32, at the same text length.

    Args:
        run: the trial whose checkpoint is shipped.
        point: sets the precision and length to check.
        scorer: the task and its metric.
        margin: F1 that may be lost, as a fraction.
        seed: random seed of the bootstrap.

    Returns:
        None for fp32, and if fp32 is not among the precisions of the experiment: then F1 was measured at the served
        precision, and there is no alternative to ship.
    """
    lengths = {v.max_length for v in run.variants if v.precision == REFERENCE}
    if point.precision == REFERENCE or point.max_length not in lengths:
        return None
    keys = [(run.trial_id, precision, point.max_length) for precision in (REFERENCE, point.precision)]
    evidence = load_evidence([run], keys, scorer, seed=seed)
    facts = point.model_dump(include={"model_size", "precision", "max_length"}) | {"trial_id": run.trial_id}
    what = f"{point.precision} of {run.trial_id} ({point.model_size}, {point.max_length} tokens)"
    recorded = {(run.trial_id, v.precision, v.max_length): v.f1 for v in run.variants}
    if evidence is None or not evidence.reproduces(keys, [recorded[key] for key in keys]):
        reason = f"{what} cannot be compared with fp32: its saved predictions are missing, or not those of its score"
        return PrecisionCheck(**facts, reason=reason)
    agreement = evidence.agreement(*keys)
    difference = evidence.resample([[key] for key in keys]).difference(1, 0)
    rows = len(evidence.targets)
    loss = difference.loss
    upper = difference.upper()
    minimum = MIN_AGREEMENT[point.precision]
    # Equal predictions lose nothing on these rows, however few they are to bound the loss with.
    passed = agreement >= minimum and (upper <= margin or agreement == 1.0)
    rule = "" if passed else f"; at least {minimum:.0%} and at most {margin * 100:g} points are required"
    reason = (
        f"{what} gives {agreement:.2%} of {rows:,} validation rows the prediction of fp32, and "
        f"loses {_points(loss)} points of {scorer.metric_name}, at most {_points(upper)} (95%){rule}"
    )
    found = {"rows": rows, "agreement": agreement, "f1_loss": loss, "f1_loss_upper": upper, "passed": passed}
    return PrecisionCheck(**facts, **found, reason=reason)


def _without(records: Sequence[TrialRecord], point: FrontPoint) -> list[TrialRecord]:
    """The records without the variant of ``point``, in its search trial and in its confirmation runs."""
    refused = (point.precision, point.max_length)
    return [
        record
        if point.trial_id not in (record.trial_id, record.confirms)
        else record.replace(variants=[v for v in record.variants if (v.precision, v.max_length) != refused])
        for record in records
    ]


def _points(f1: float) -> str:
    """F1 as points, without a minus zero."""
    return f"{f1 * 100 + 0.0:.2f}".replace("-0.00", "0.00")
