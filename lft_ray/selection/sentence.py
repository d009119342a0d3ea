"""Say in one plain sentence why the winner won. In: points. Out: text. Pure."""

from collections.abc import Sequence

from lft_ray.config import SelectionSpec
from lft_ray.records import FrontPoint
from lft_ray.selection.policies import best_f1

__all__ = ["is_linear", "metric_name", "reason_of"]

NAMES = {"macro_f1": "macro-F1", "micro_f1": "micro-F1", "weighted_f1": "weighted F1", "accuracy": "accuracy"}


def metric_name(metric: str) -> str:
    """A metric as people write it."""
    return NAMES.get(metric, metric)


def is_linear(model_size: str) -> bool:
    """Whether a model size is words and a linear model, without a transformer."""
    return model_size.partition(":")[0] == "tfidf"


def reason_of(
    winner: FrontPoint, judged: Sequence[FrontPoint], spec: SelectionSpec, *, metric: str, fresh_runs: int
) -> str:
    """One sentence: what is kept, what is given up, what is saved.

    Args:
        winner: the chosen point, with the F1 it was judged by.
        judged: every point it was compared with, itself included.
        spec: policy and margin.
        metric: name of the score.
        fresh_runs: runs with fresh seeds that the winner's F1 is the mean of; 0: its search score.
    """
    name = metric_name(metric)
    best = best_f1(judged)
    seeds = f"mean of {fresh_runs} fresh seeds" if fresh_runs > 1 else "one fresh seed" if fresh_runs else ""
    if best.f1 <= winner.f1:
        text = _best(winner, judged, spec, name=name, seeds=seeds)
    else:
        loss = (best.f1 - winner.f1) * 100
        details = "; ".join(filter(None, [f"-{loss:.1f} points, margin {spec.margin * 100:g}", seeds]))
        text = (
            f"{winner.model_size} keeps {winner.f1:.3f} of the best {best.f1:.3f} {name} ({details}) "
            f"{_price_against(winner, best)}"
        )
    if is_linear(winner.model_size):
        text += "; no transformer was needed"
    return text + "."


def _best(winner: FrontPoint, judged: Sequence[FrontPoint], spec: SelectionSpec, *, name: str, seeds: str) -> str:
    score = f"{winner.f1:.3f}" + (f" ({seeds})" if seeds else "")
    text = f"{winner.model_size} has the best {name}, {score},"
    usd = winner.usd_per_million_predictions
    cheaper = [p for p in judged if p.usd_per_million_predictions < usd]
    if not cheaper:
        return f"{text} and nothing cheaper was found (${usd:.4g} per million predictions)"
    if spec.policy == "cheapest_within":
        return f"{text} and no cheaper point comes within the margin of {spec.margin * 100:g} points"
    return f"{text} at ${usd:.4g} per million predictions"


def _price_against(winner: FrontPoint, best: FrontPoint) -> str:
    cheap, dear = winner.usd_per_million_predictions, best.usd_per_million_predictions
    same = winner.model_size == best.model_size
    other = f"{best.trial_id} of the same size" if same else best.model_size
    if cheap >= dear or cheap <= 0.0:
        return f"at ${cheap:.4g} per million predictions against ${dear:.4g} of {other}"
    return f"at {dear / cheap:.1f}x less per million predictions than {other}"
