"""The reason for a choice in one sentence: what won, what F1 it gives up, how certain. In: points. Out: text. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.config import SelectionSpec
from lft_ray.records import Cascade, FrontPoint, JudgedPoint
from lft_ray.selection.verdict import Verdict

__all__ = ["Facts", "cascade_sentence", "is_linear", "metric_name", "reason_of"]

NAMES = {"macro_f1": "macro-F1", "micro_f1": "micro-F1", "weighted_f1": "weighted F1", "accuracy": "accuracy"}


@dataclass(frozen=True, slots=True)
class Facts:
    """Inputs of the sentence besides the points: name of the score, number of points searched, and the verdict."""

    metric: str
    trials: int
    verdict: Verdict


def metric_name(metric: str) -> str:
    """The usual spelling of a metric."""
    return NAMES.get(metric, metric)


def is_linear(model_size: str) -> bool:
    """Whether a model size is a linear model on TF-IDF features, without a transformer."""
    return model_size.partition(":")[0] == "tfidf"


def cascade_sentence(cascade: Cascade) -> str:
    """One sentence on a cascade: share, F1, cost, and how they were measured."""
    small, large = cascade.small, cascade.large
    sentence = (
        f"{small.model_size} with {large.model_size} for the {cascade.share:.0%} of texts of low confidence: "
        f"F1 {cascade.f1:.3f} at ${cascade.usd_per_million_predictions:.3g} per million predictions. Alone they reach "
        f"{cascade.small_f1:.3f} at ${small.usd_per_million_predictions:.3g} and {cascade.large_f1:.3f} at "
        f"${large.usd_per_million_predictions:.3g}. Chosen on one half of {cascade.validation_rows:,} validation rows "
        "and measured on the other, both ways round"
    )
    if cascade.test_f1 is None:
        return f"{sentence}."
    return f"{sentence}; on the {cascade.test_rows:,} test rows, evaluated once: F1 {cascade.test_f1:.3f}."


def reason_of(winner: JudgedPoint, judged: Sequence[JudgedPoint], spec: SelectionSpec, facts: Facts) -> str:
    """One sentence: the loss of F1, the saving, and whether rows and seeds suffice to claim it.

    Args:
        winner: the chosen point, with the F1 used in the comparison.
        judged: all points in the comparison, the winner included.
        spec: policy and margin.
        facts: name of the score, size of the search, and verdict.
    """
    name = metric_name(facts.metric)
    best = max(judged, key=lambda p: (p.standing == "best", p.f1))
    sentence = _best_wins(winner, judged, spec, name) if best.f1 <= winner.f1 else _cheaper_wins(winner, best, name)
    if is_linear(winner.model_size):
        sentence += ", and no transformer was needed"
    return f"{sentence}; {_certainty(winner, spec, facts)}."


def _cheaper_wins(winner: JudgedPoint, best: JudgedPoint, name: str) -> str:
    bound = "" if winner.loss_upper is None else f" (95% upper bound {_points(winner.loss_upper)})"
    served = f" served in {_serving_variant(winner)}" if winner.trial_id == best.trial_id else ""
    return f"{winner.model_size}{served}: -{_points(winner.loss)} {name} points{bound} {_price_against(winner, best)}"


def _best_wins(winner: JudgedPoint, judged: Sequence[JudgedPoint], spec: SelectionSpec, name: str) -> str:
    runs = len(winner.fresh_f1)
    seeds = f" (mean of {runs} fresh seeds)" if runs > 1 else " (one fresh seed)" if runs else ""
    sentence = f"{winner.model_size} has the best {name}, {winner.f1:.3f}{seeds},"
    usd = winner.usd_per_million_predictions
    if not any(p.usd_per_million_predictions < usd for p in judged):
        return f"{sentence} and no cheaper finalist was found (${usd:.4g} per million predictions)"
    if spec.policy == "cheapest_within":
        return f"{sentence} and no cheaper finalist comes within the margin of {spec.margin * 100:g} points"
    return f"{sentence} at ${usd:.4g} per million predictions"


def _serving_variant(point: FrontPoint) -> str:
    """Precision and length at which a checkpoint is served."""
    return f"{point.precision} at {point.max_length} tokens"


def _price_against(winner: FrontPoint, best: FrontPoint) -> str:
    winner_usd, best_usd = winner.usd_per_million_predictions, best.usd_per_million_predictions
    other = f"{best.trial_id} of the same size" if winner.model_size == best.model_size else best.model_size
    if winner.trial_id == best.trial_id:
        other = f"the same checkpoint in {_serving_variant(best)}"
    if winner_usd >= best_usd or winner_usd <= 0.0:
        return f"at ${winner_usd:.4g} per million predictions against ${best_usd:.4g} of {other}"
    return f"for {best_usd / winner_usd:.1f}x less per million predictions than {other}"


def _certainty(winner: JudgedPoint, spec: SelectionSpec, facts: Facts) -> str:
    verdict = facts.verdict
    seeds = f"{verdict.seeds} {'seed' if verdict.seeds == 1 else 'seeds'}"
    if verdict.is_proven:
        return f"proven on {verdict.rows:,} rows, {seeds}"
    if verdict.doubt == "no_fresh_seeds":
        if facts.trials == 1:
            return "not proven, as it is one run without fresh seeds"
        return "not proven: no fresh seeds were run, and the best of several search scores is optimistic"
    if verdict.doubt == "no_predictions":
        return "not proven: there are no saved predictions to bound the loss with"
    if verdict.doubt == "one_seed":
        return "within noise: one seed per finalist does not show how far seeds differ"
    margin = f"{spec.margin * 100:g} points"
    few = f"within noise: {verdict.rows:,} rows and {seeds} cannot separate the finalists to {margin}"
    if verdict.rows_needed is None:
        return f"{few}, nor would more rows alone: the seeds differ too much"
    return f"{few}, about {_round_up(verdict.rows_needed):,} rows would"


def _points(f1: float) -> str:
    """F1 as points, without a minus zero."""
    return f"{f1 * 100 + 0.0:.1f}".replace("-0.0", "0.0")


def _round_up(rows: int) -> int:
    """Round up to two significant digits: the estimate is no more precise than that."""
    unit = int(10 ** max(0, len(str(rows)) - 2))
    return -(-rows // unit) * unit
