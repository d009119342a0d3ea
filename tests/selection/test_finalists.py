"""Eligible points and finalists; caps apply to variants, not to trials."""

from lft_ray.config import CostSpec, SelectionSpec, TrafficSpec
from lft_ray.records import ScoredVariant
from lft_ray.selection.decide import decide
from lft_ray.selection.finalists import eligible_points
from tests.selection.builders import trial


def variants(*rows: tuple[str, int, float, float, float]) -> list[ScoredVariant]:
    return [
        ScoredVariant(precision=p, max_length=n, f1=f1, usd_per_million_predictions=usd, p95_ms=ms)
        for p, n, f1, usd, ms in rows
    ]


def study():
    both = variants(("fp32", 128, 0.92, 0.20, 40.0), ("bf16", 128, 0.919, 0.15, 30.0), ("bf16", 32, 0.90, 0.05, 9.0))
    slow = variants(("fp32", 128, 0.95, 0.40, 80.0), ("bf16", 32, 0.94, 0.30, 60.0))
    return [trial("t1", "minilm:3", 0, 0, variants=both), trial("t2", "minilm:6", 0, 0, variants=slow)]


def test_a_variant_over_the_cap_does_not_exclude_its_trial():
    found = eligible_points(study(), SelectionSpec(max_usd_per_million=0.1), CostSpec())
    assert [(p.trial_id, p.precision, p.max_length) for p in found.eligible] == [("t1", "bf16", 32)]
    assert list(found.excluded) == ["t2"]
    assert "selection.max_usd_per_million" in found.excluded["t2"]
    assert len(found.points) == 5


def test_decide_takes_the_variant_within_the_cap():
    choice = decide(study(), SelectionSpec(), CostSpec(traffic=TrafficSpec(p95_ms=35)))
    assert (choice.winner.trial_id, choice.winner.precision, choice.winner.max_length) == ("t1", "bf16", 128)
    assert [(p.trial_id, p.precision, p.max_length) for p in choice.front] == [
        ("t1", "bf16", 32), ("t1", "bf16", 128), ("t1", "fp32", 128), ("t2", "bf16", 32), ("t2", "fp32", 128),
    ]  # fmt: skip


def test_reason_names_both_variants_of_the_same_checkpoint():
    reason = decide(study(), SelectionSpec(), CostSpec(traffic=TrafficSpec(p95_ms=45))).reason
    assert reason.startswith(
        "minilm:3 served in bf16 at 128 tokens: -0.1 F1 points for 1.3x less per million predictions "
        "than the same checkpoint in fp32 at 128 tokens; "
    )


def test_confirmation_runs_score_each_variant_separately():
    lucky = trial(
        "t1", "minilm:3", 0, 0, variants=variants(("fp32", 128, 0.92, 0.2, 5.0), ("fp32", 32, 0.92, 0.1, 5.0))
    )
    fresh = [
        trial(
            f"c{n}",
            "minilm:3",
            0,
            0,
            confirms="t1",
            variants=variants(("fp32", 128, 0.91, 0.2, 5.0), ("fp32", 32, low, 0.1, 5.0)),
        )
        for n, low in enumerate((0.80, 0.82))
    ]
    assert decide([lucky], SelectionSpec(), CostSpec()).winner.max_length == 32
    choice = decide([lucky, *fresh], SelectionSpec(), CostSpec())
    assert (choice.winner.max_length, choice.winner.f1) == (128, 0.91)
