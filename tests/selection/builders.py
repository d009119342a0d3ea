"""Trial records of one line each."""

from lft_ray.records import ScoredVariant, TrialConfig, TrialRecord, TrialStatus


def trial(
    trial_id, size, f1, usd, *, status="done", reason="", confirms="", p95_ms=5.0, precision="fp32", variants=None
):
    """A finished trial with one priced variant, or one that ended otherwise."""
    if variants is None and status == "done":
        variants = [
            ScoredVariant(precision=precision, max_length=128, f1=f1, usd_per_million_predictions=usd, p95_ms=p95_ms)
        ]
    return TrialRecord(
        trial_id=trial_id,
        attempt=0,
        config=TrialConfig(model_size=size),
        status=TrialStatus(status),
        reason=reason,
        variants=variants or [],
        role="confirm" if confirms else "search",
        confirms=confirms,
    )


def study():
    """A plausible ladder: tfidf, then three depths, the deepest best, one trial that is dominated, one stopped."""
    return [
        trial("t1", "tfidf", 0.880, 0.01),
        trial("t2", "minilm:3", 0.912, 0.04),
        trial("t3", "minilm:6", 0.915, 0.084),
        trial("t4", "minilm:2", 0.900, 0.05),
        trial("t5", "minilm:6", 0.990, 0.001, status="stopped", reason="deadline"),
        trial("t6", "minilm:3", 0.905, 0.04),
    ]
