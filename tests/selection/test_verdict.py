"""From predictions to the verdict, through `decide`: what is proven, what is not, and how many rows would settle it."""

import numpy as np
import pytest

from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.selection.decide import Evidence, decide
from lft_ray.selection.metrics import scores
from tests.selection.builders import trial

COST = CostSpec()
SPEC = SelectionSpec(margin=0.02)


def study(errors, *, rows=4000, seeds=3, spread=0.0, with_fresh=True, seed=0):
    """Records and evidence of models with these shares of wrong predictions, each at 2.5 times the cost of the last.

    Errors are nested: a row that a good model gets wrong, a worse one gets wrong, too; each run moves one row in 200.
    """
    rng = np.random.default_rng(seed)
    truth, hardness = rng.integers(0, 3, rows), rng.random(rows)
    records, predictions = [], {}

    def run(trial_id, number, share, confirms=""):
        share = share + rng.normal(0, spread)
        wrong = (hardness < share) ^ (rng.random(rows) < 0.005)
        predictions[trial_id, "fp32", 128] = np.where(wrong, (truth + 1) % 3, truth)
        f1 = float(scores(truth, [predictions[trial_id, "fp32", 128]], "macro_f1")[0])
        records.append(trial(trial_id, f"m:{number}", f1, 0.01 * 2.5**number, confirms=confirms))

    for number, share in enumerate(errors):
        run(f"t{number}", number, share)
    for number, share in enumerate(errors if with_fresh else []):
        for again in range(seeds):
            run(f"c{number * 10 + again}", number, share, confirms=f"t{number}")
    return records, Evidence(truth=truth, predictions=predictions, seed=0)


def test_a_small_loss_on_many_rows_is_proven():
    records, evidence = study([0.105, 0.10])
    choice = decide(records, SPEC, COST, evidence=evidence)
    assert choice.winner.trial_id == "t0"
    assert (choice.verdict, choice.rows_needed, choice.validation_rows) == ("proven", None, 4000)
    cheap, best = choice.judged
    assert (cheap.standing, best.standing, best.loss, best.loss_upper) == ("proven", "best", 0.0, None)
    assert 0.0 < cheap.loss < cheap.loss_upper <= 0.02
    assert choice.reason == (
        f"m:0: -{cheap.loss * 100:.1f} macro-F1 points (95% upper bound {cheap.loss_upper * 100:.1f}) "
        "for 2.5x less per million predictions than m:1; proven against m:1 on 4,000 rows, 3 seeds."
    )


def test_where_nothing_can_be_shown_one_standard_error_decides():
    records, evidence = study([0.115, 0.10], rows=200)
    spec = SelectionSpec(margin=0.001)
    choice = decide(records, spec, COST, evidence=evidence)
    cheap = choice.judged[0]
    assert choice.winner.trial_id == "t0"
    assert spec.margin < cheap.loss < cheap.loss_upper
    assert (choice.verdict, cheap.standing) == ("within_noise", "within_noise")
    assert "within noise: 200 rows and 3 seeds cannot separate it from m:1 to 0.1 points, " in choice.reason
    # By its mean alone it is out: what is not bounded keeps to the margin.
    assert decide(records, spec, COST).winner.trial_id == "t1"


def test_few_rows_are_said_to_be_too_few_with_the_number_that_would_do():
    records, evidence = study([0.12, 0.10], rows=300, seed=3)
    choice = decide(records, SelectionSpec(margin=0.005), COST, evidence=evidence)
    assert (choice.winner.trial_id, choice.verdict) == ("t1", "within_noise")
    assert 300 < choice.rows_needed < 600
    assert f"about {-(-choice.rows_needed // 10) * 10} rows would." in choice.reason


def test_more_rows_prove_what_few_rows_can_not():
    def reach(rows):
        records, evidence = study([0.11, 0.10], rows=rows, seed=2)
        choice = decide(records, SPEC, COST, evidence=evidence)
        other = next(point for point in choice.judged if point.standing != "best")
        return other.loss_upper - other.loss

    # 40 times the rows: half-widths shrink by about the root of that.
    assert reach(8000) < reach(200) / 4


def test_a_best_winner_is_proven_where_the_cheaper_are_shown_to_be_worse():
    records, evidence = study([0.14, 0.10])
    choice = decide(records, SelectionSpec(margin=0.01), COST, evidence=evidence)
    assert choice.winner.trial_id == "t1"
    assert choice.verdict == "proven"
    assert choice.judged[0].standing == "worse"
    assert "has the best macro-F1" in choice.reason
    assert "and m:0, which is cheaper, is not within the margin of 1 points; " in choice.reason
    assert choice.reason.endswith("proven against m:0 on 4,000 rows, 3 seeds.")


def test_without_fresh_seeds_nothing_is_proven():
    records, evidence = study([0.104, 0.10], with_fresh=False)
    choice = decide(records, SPEC, COST, evidence=evidence)
    assert choice.winner.trial_id == "t0"
    assert choice.judged[0].loss_upper < 0.02
    assert (choice.verdict, choice.rows_needed) == ("unconfirmed", None)
    assert choice.reason.endswith("no fresh seeds were run, and the best of several search scores is optimistic.")


def test_one_seed_per_finalist_proves_nothing():
    records, evidence = study([0.102, 0.10], seeds=1)
    choice = decide(records, SPEC, COST, evidence=evidence)
    assert choice.verdict == "within_noise"
    assert choice.reason.endswith("one seed per finalist does not show how far seeds differ.")


def test_rows_needed_is_none_if_seeds_differ_too_much():
    records, evidence = study([0.10, 0.10], spread=0.03, rows=4000, seed=5)
    choice = decide(records, SelectionSpec(margin=0.003), COST, evidence=evidence)
    assert (choice.verdict, choice.rows_needed) == ("within_noise", None)
    assert choice.reason.endswith("nor would more rows alone: the seeds differ too much.")


def test_missing_or_inconsistent_predictions_bound_nothing():
    records, evidence = study([0.102, 0.10])
    few = {key: value for key, value in evidence.predictions.items() if key[0] != "c11"}
    other = evidence.predictions | {("c11", "fp32", 128): evidence.truth}
    for predictions in (few, other):
        choice = decide(records, SPEC, COST, evidence=Evidence(evidence.truth, predictions))
        assert (choice.verdict, choice.validation_rows) == ("unconfirmed", 0)
        assert choice.judged[0].loss_upper is None
        assert choice.reason.endswith("there are no saved predictions to bound the loss with.")


def test_the_same_predictions_give_the_same_choice():
    records, evidence = study([0.11, 0.105, 0.10], rows=500)
    first, again = (decide(records, SPEC, COST, evidence=evidence) for _ in range(2))
    assert first.model_copy(update={"decided_at": ""}) == again.model_copy(update={"decided_at": ""})
    assert type(first).model_validate_json(first.model_dump_json()) == first


@pytest.mark.parametrize("policy", ["best_f1", "tests.selection.test_decide:most_expensive"])
def test_other_policies_are_judged_by_the_same_bounds(policy):
    records, evidence = study([0.105, 0.10])
    choice = decide(records, SelectionSpec(policy=policy, margin=0.02), COST, evidence=evidence)
    assert choice.winner.trial_id == "t1"
    # The cheaper one is within the margin, and this policy does not ask for it: that none is better, is shown.
    assert choice.judged[0].standing == "proven"
    assert choice.verdict == "proven"
