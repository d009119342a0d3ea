"""The reason for a choice in one sentence: what won, what F1 it gives up, how certain. In: points. Out: text. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lft_ray.config import SelectionSpec
from lft_ray.records import Cascade, ConfirmationCount, FrontPoint, JudgedPoint, NotCompared
from lft_ray.selection.coverage import confirmation_sentence
from lft_ray.selection.screening import is_linear
from lft_ray.selection.verdict import Verdict

__all__ = [
    "Facts", "cascade_sentence", "not_compared_sentence", "points_text", "reason_of", "verdict_words",
]  # fmt: skip

LESS = 1.05
"""Ratio of costs from which on one is said to be less: it is printed with one digit, and 1.0 is no saving."""
NAMED = 4
"""Points that a sentence names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Inputs of the sentence besides the points.

    Attributes:
        metric_name: name of the score, as it is printed.
        verdict: what can be claimed.
        is_cheapest: whether nothing that finished is cheaper than the winner.
        other_sizes: number of sizes that finished and were not compared, because one seed rules them out.
        missing: finalists that should have been compared.
        confirmations: how the confirmation runs ended.
        failures: that most trials failed, and why; empty if they did not.
    """

    metric_name: str
    verdict: Verdict
    is_cheapest: bool = True
    other_sizes: int = 0
    missing: tuple[NotCompared, ...] = ()
    confirmations: ConfirmationCount = field(default_factory=ConfirmationCount)
    failures: str = ""


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


def not_compared_sentence(missing: Sequence[NotCompared]) -> str:
    """One sentence on the finalists that were not compared; empty if there are none."""
    parts = "; ".join(f"{row.model_size} ({row.trial_id}: {row.reason})" for row in missing)
    return f"Not compared, although one seed cannot rule it out: {parts}." if parts else ""


def reason_of(winner: JudgedPoint, judged: Sequence[JudgedPoint], spec: SelectionSpec, facts: Facts) -> str:
    """One sentence: the loss of F1, the saving, and whether rows and seeds suffice to claim it.

    A study in which most trials failed says that first. "No transformer was needed" is said only of a linear model that
    was compared with a transformer.

    Args:
        winner: the chosen point, with the F1 used in the comparison.
        judged: all points in the comparison, the winner included.
        spec: policy and margin.
        facts: name of the score, what was compared and what was not, and the verdict.
    """
    name = facts.metric_name
    best = max(judged, key=lambda p: (p.standing == "best", p.f1))
    is_best = best.f1 <= winner.f1
    sentence = _best_wins(winner, judged, spec, facts) if is_best else _cheaper_wins(winner, best, name)
    if is_linear(winner.model_size) and any(not is_linear(p.model_size) for p in judged):
        sentence += ", and no transformer was needed"
    first = f"{facts.failures}; " if facts.failures else ""
    return f"{first}{sentence}; {_certainty(winner, judged, spec, facts)}."


def _cheaper_wins(winner: JudgedPoint, best: JudgedPoint, name: str) -> str:
    bound = "" if winner.loss_upper is None else f" (95% upper bound {points_text(winner.loss_upper)})"
    served = f" served in {_serving_variant(winner)}" if winner.trial_id == best.trial_id else ""
    return (
        f"{winner.model_size}{served}: -{points_text(winner.loss)} {name} points{bound} {_price_against(winner, best)}"
    )


def _best_wins(winner: JudgedPoint, judged: Sequence[JudgedPoint], spec: SelectionSpec, facts: Facts) -> str:
    runs, usd = len(winner.fresh_f1), winner.usd_per_million_predictions
    seeds = f" (mean of {runs} fresh seeds)" if runs > 1 else " (one fresh seed)" if runs else ""
    score = f"{facts.metric_name}, {winner.f1:.3f}{seeds},"
    sentence = f"{winner.model_size} has the best {score}"
    cheaper = [p for p in judged if p.usd_per_million_predictions < usd]
    if cheaper and spec.policy == "cheapest_within":
        margin = f"{spec.margin * 100:g} points"
        names = _names(cheaper, winner)
        none = f"none of the cheaper {names} is" if len(cheaper) > 1 else f"{names}, which is cheaper, is not"
        return f"{sentence} and {none} within the margin of {margin}"
    price = f"${usd:.4g} per million predictions"
    if cheaper:
        return f"{sentence} at {price}"
    if len(judged) == 1 and not facts.other_sizes and facts.is_cheapest and not facts.missing:
        return f"{winner.model_size} is all there is to choose from: {score} {price}"
    if facts.is_cheapest:
        return f"{sentence} and nothing that finished is cheaper ({price})"
    return f"{sentence} and nothing cheaper was compared ({price})"


def _serving_variant(point: FrontPoint) -> str:
    """Precision and length at which a checkpoint is served."""
    return f"{point.precision} at {point.max_length} tokens"


def _price_against(winner: FrontPoint, best: FrontPoint) -> str:
    winner_usd, best_usd = winner.usd_per_million_predictions, best.usd_per_million_predictions
    other = f"{best.trial_id} of the same size" if winner.model_size == best.model_size else best.model_size
    if winner.trial_id == best.trial_id:
        other = f"the same checkpoint in {_serving_variant(best)}"
    if winner_usd <= 0.0 or best_usd / winner_usd < LESS:
        return f"at ${winner_usd:.4g} per million predictions against ${best_usd:.4g} of {other}"
    return f"for {best_usd / winner_usd:.1f}x less per million predictions than {other}"


def verdict_words(verdict: str) -> str:
    """A verdict as it is printed: ``within noise``."""
    return verdict.replace("_", " ")


def _certainty(winner: JudgedPoint, judged: Sequence[JudgedPoint], spec: SelectionSpec, facts: Facts) -> str:
    """What can be claimed, with what the winner was compared with. Begins with the verdict, or with "not proven"."""
    verdict = facts.verdict
    seeds = f"{verdict.seeds} {'seed' if verdict.seeds == 1 else 'seeds'}"
    against = _names([p for p in judged if p is not winner], winner)
    if verdict.is_proven:
        return f"proven against {against} on {verdict.rows:,} rows" + (f", {seeds}" if verdict.seeds else "")
    if verdict.doubt == "unopposed":
        return _unopposed(judged, facts)
    if verdict.doubt == "not_compared":
        return f"not proven: {', '.join(row.model_size for row in facts.missing)} could not be compared"
    if verdict.doubt == "no_fresh_seeds":
        return _no_fresh_seeds(facts)
    if verdict.doubt == "no_predictions":
        return "not proven: there are no saved predictions to bound the loss with"
    if verdict.doubt == "one_seed":
        return "within noise: one seed per finalist does not show how far seeds differ"
    # Not from those whose loss exceeds the margin with confidence: from these it is separated.
    others = [point for point in judged if point is not winner]
    against = _names([point for point in others if point.standing != "worse"] or others, winner)
    margin = f"{spec.margin * 100:g} points"
    tried = f"{verdict.rows:,} rows and {seeds}" if verdict.seeds else f"{verdict.rows:,} rows"
    few = f"within noise: {tried} cannot separate it from {against} to {margin}"
    if verdict.rows_needed is None:
        return f"{few}, nor would more rows alone" + (": the seeds differ too much" if spec.margin else "")
    return f"{few}, about {_round_up(verdict.rows_needed):,} rows would"


def _unopposed(judged: Sequence[JudgedPoint], facts: Facts) -> str:
    if facts.other_sizes:
        return "unopposed: one run of every other size that finished rules it out, so none was trained again"
    if len(judged) > 1:
        return "unopposed: no other model size finished, so it was compared with itself alone"
    return "unopposed: nothing else finished, so it was compared with nothing"


def _no_fresh_seeds(facts: Facts) -> str:
    count = facts.confirmations
    if count.total:
        return f"not proven: {confirmation_sentence(count)}"
    return "not proven: no fresh seeds were run, and the best of several search scores is optimistic"


def _names(points: Sequence[FrontPoint], winner: FrontPoint) -> str:
    """``tfidf, minilm:1 and minilm:6``: model sizes, or what distinguishes a point of the winner's size."""
    names = list(dict.fromkeys(_name(point, winner) for point in points))
    if len(names) > NAMED:
        names = [*names[: NAMED - 1], f"{len(names) - NAMED + 1} others"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _name(point: FrontPoint, winner: FrontPoint) -> str:
    if point.model_size != winner.model_size:
        return point.model_size
    if point.trial_id != winner.trial_id:
        return f"{point.trial_id} of the same size"
    return f"the same checkpoint in {_serving_variant(point)}"


def points_text(f1: float) -> str:
    """F1 as points, without a minus zero."""
    return f"{f1 * 100 + 0.0:.1f}".replace("-0.0", "0.0")


def _round_up(rows: int) -> int:
    """Round up to two significant digits: the estimate is no more precise than that."""
    unit = int(10 ** max(0, len(str(rows)) - 2))
    return -(-rows // unit) * unit
