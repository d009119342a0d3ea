"""Say in one plain sentence what won, what it gives up and how sure that is. In: judged points. Out: text. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from lft_ray.config import SelectionSpec
from lft_ray.records import Cascade, FrontPoint, JudgedPoint
from lft_ray.selection.verdict import Verdict

__all__ = ["Facts", "cascade_sentence", "is_linear", "metric_name", "reason_of"]

NAMES = {"macro_f1": "macro-F1", "micro_f1": "micro-F1", "weighted_f1": "weighted F1", "accuracy": "accuracy"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sentence needs besides the points: name of the score, points searched, and the verdict."""

    metric: str
    trials: int
    verdict: Verdict


def metric_name(metric: str) -> str:
    """A metric as people write it."""
    return NAMES.get(metric, metric)


def is_linear(model_size: str) -> bool:
    """Whether a model size is words and a linear model, without a transformer."""
    return model_size.partition(":")[0] == "tfidf"


def cascade_sentence(cascade: Cascade) -> str:
    """What two models together do, and how that was measured."""
    small, large = cascade.small, cascade.large
    text = (
        f"{small.model_size} with {large.model_size} for the {cascade.share:.0%} of the texts that it is not sure of: "
        f"F1 {cascade.f1:.3f} at ${cascade.usd_per_million_predictions:.3g} per million predictions. Alone they have "
        f"{cascade.small_f1:.3f} at ${small.usd_per_million_predictions:.3g} and {cascade.large_f1:.3f} at "
        f"${large.usd_per_million_predictions:.3g}. Chosen on one half of {cascade.validation_rows:,} validation rows "
        "and measured on the other, both ways round"
    )
    if cascade.test_f1 is None:
        return f"{text}."
    return f"{text}; on the {cascade.test_rows:,} test rows, looked at once: F1 {cascade.test_f1:.3f}."


def reason_of(winner: JudgedPoint, judged: Sequence[JudgedPoint], spec: SelectionSpec, facts: Facts) -> str:
    """One sentence: what is given up, what is saved, and whether the data are enough to say so.

    Args:
        winner: the chosen point, with the F1 it was judged by.
        judged: every point it was compared with, itself included.
        spec: policy and margin.
        facts: score, search and verdict.
    """
    name = metric_name(facts.metric)
    best = max(judged, key=lambda p: (p.standing == "best", p.f1))
    text = _best(winner, judged, spec, name) if best.f1 <= winner.f1 else _against(winner, best, name)
    if is_linear(winner.model_size):
        text += ", and no transformer was needed"
    return f"{text}; {_certainty(winner, spec, facts)}."


def _against(winner: JudgedPoint, best: JudgedPoint, name: str) -> str:
    bound = "" if winner.loss_upper is None else f" (95% upper bound {_points(winner.loss_upper)})"
    served = f" served in {_way(winner)}" if winner.trial_id == best.trial_id else ""
    return f"{winner.model_size}{served}: -{_points(winner.loss)} {name} points{bound} {_price_against(winner, best)}"


def _best(winner: JudgedPoint, judged: Sequence[JudgedPoint], spec: SelectionSpec, name: str) -> str:
    runs = len(winner.fresh_f1)
    seeds = f" (mean of {runs} fresh seeds)" if runs > 1 else " (one fresh seed)" if runs else ""
    text = f"{winner.model_size} has the best {name}, {winner.f1:.3f}{seeds},"
    usd = winner.usd_per_million_predictions
    if not any(p.usd_per_million_predictions < usd for p in judged):
        return f"{text} and no cheaper finalist was found (${usd:.4g} per million predictions)"
    if spec.policy == "cheapest_within":
        return f"{text} and no cheaper finalist comes within the margin of {spec.margin * 100:g} points"
    return f"{text} at ${usd:.4g} per million predictions"


def _way(point: FrontPoint) -> str:
    """How a checkpoint is served."""
    return f"{point.precision} at {point.max_length} tokens"


def _price_against(winner: FrontPoint, best: FrontPoint) -> str:
    cheap, dear = winner.usd_per_million_predictions, best.usd_per_million_predictions
    other = f"{best.trial_id} of the same size" if winner.model_size == best.model_size else best.model_size
    if winner.trial_id == best.trial_id:
        other = f"the same checkpoint in {_way(best)}"
    if cheap >= dear or cheap <= 0.0:
        return f"at ${cheap:.4g} per million predictions against ${dear:.4g} of {other}"
    return f"for {dear / cheap:.1f}x less per million predictions than {other}"


def _certainty(winner: JudgedPoint, spec: SelectionSpec, facts: Facts) -> str:
    verdict = facts.verdict
    seeds = f"{verdict.seeds} {'seed' if verdict.seeds == 1 else 'seeds'}"
    if verdict.is_proven:
        return f"proven on {verdict.rows:,} rows, {seeds}"
    if verdict.doubt == "no_fresh_seeds":
        if facts.trials == 1:
            return "not proven, as it is one run without fresh seeds"
        return "not proven: no fresh seeds were run, and the best of several search scores is optimistic"
    if verdict.doubt == "no_answers":
        return "not proven: there are no saved predictions to bound the loss with"
    if verdict.doubt == "one_seed":
        return "within noise: one seed each does not tell what another seed would score"
    few = f"within noise: {verdict.rows:,} rows and {seeds} can not tell them apart to {spec.margin * 100:g} points"
    if verdict.rows_needed is None:
        return f"{few}, and more rows alone would not: the seeds differ too much"
    return f"{few}, about {_round_up(verdict.rows_needed):,} rows would"


def _points(f1: float) -> str:
    """F1 as points, rounded away from a minus zero."""
    return f"{f1 * 100 + 0.0:.1f}".replace("-0.0", "0.0")


def _round_up(rows: int) -> int:
    """To two digits: what is left is a guess."""
    unit = int(10 ** max(0, len(str(rows)) - 2))
    return -(-rows // unit) * unit
