"""From predictions to the verdict, through `decide`: what is proven, what is not, and how many rows would settle it."""

import numpy as np
import pytest

from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.records import SizeCoverage, SizeOutcome, TrialStatus
from lft_ray.selection import screening, significance
from lft_ray.selection.decide import decide
from tests.selection import labels
from tests.selection.builders import trial

COST = CostSpec()
UNTRIED = SizeCoverage(model_size="m:9", outcome=SizeOutcome.NOT_TRIED, reason="not tried: out of time")
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
        f1 = float(labels.scores(truth, [predictions[trial_id, "fp32", 128]])[0])
        records.append(trial(trial_id, f"m:{number}", f1, 0.01 * 2.5**number, confirms=confirms))

    for number, share in enumerate(errors):
        run(f"t{number}", number, share)
    for number, share in enumerate(errors if with_fresh else []):
        for again in range(seeds):
            run(f"c{number * 10 + again}", number, share, confirms=f"t{number}")
    return records, labels.evidence(truth, predictions)


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
    few = {key: value for key, value in evidence.answers.items() if key[0] != "c11"}
    other = evidence.answers | {("c11", "fp32", 128): evidence.targets}
    for predictions in (few, other):
        choice = decide(records, SPEC, COST, evidence=labels.evidence(evidence.targets, predictions))
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


def test_one_finalist_is_unopposed_however_many_seeds_it_has():
    records, evidence = study([0.10], rows=400)
    choice = decide(records, SPEC, COST, evidence=evidence, coverage=[UNTRIED])
    assert (choice.verdict, choice.compared_with) == ("unopposed", [])
    assert "margin" not in choice.reason
    assert choice.remarks == ["Not compared, as no trial of it finished: m:9 (not tried: out of time)."]


def test_other_runs_of_the_same_size_are_no_opposition_in_a_study_of_several():
    records, evidence = study([0.105, 0.10])
    same = [r.replace(config=r.config.replace(model_size="m:0")) for r in records]
    assert decide(same, SPEC, COST, evidence=evidence).verdict == "proven", "there is one size to choose from"
    choice = decide(same, SPEC, COST, evidence=evidence, coverage=[UNTRIED])
    assert choice.verdict == "unopposed"
    assert choice.reason.endswith("unopposed: no other model size finished, so it was compared with itself alone.")


def test_a_finalist_that_was_not_confirmed_keeps_the_choice_from_being_proven():
    records, evidence = study([0.104, 0.102, 0.10])
    assert decide(records, SPEC, COST, evidence=evidence).verdict == "proven"
    choice = decide([r for r in records if r.confirms != "t0"], SPEC, COST, evidence=evidence)
    assert (choice.winner.trial_id, choice.verdict) == ("t1", "incomplete")
    assert [(n.model_size, n.trial_id) for n in choice.not_compared] == [("m:0", "t0")]
    assert "selection.confirmation_fraction left no confirmation run for it" in choice.remarks[0]
    assert choice.reason.endswith("not proven: m:0 could not be compared.")
    end = {"status": TrialStatus.FAILED, "reason": "out of memory", "variants": []}
    failed = [r.replace(**end) if r.confirms == "t0" else r for r in records]
    choice = decide(failed, SPEC, COST, evidence=evidence)
    assert choice.verdict == "incomplete"
    assert choice.not_compared[0].reason == "3 failed of 3 confirmation runs: out of memory"
    assert choice.remarks[-1] == "3 failed of 9 confirmation runs: out of memory."


def test_a_linear_model_is_compared_without_another_seed():
    records, evidence = study([0.40, 0.10])
    linear = [
        r.replace(config=r.config.replace(model_size="tfidf")) if r.config.model_size == "m:0" else r
        for r in records
        if r.confirms != "t0"
    ]
    choice = decide(linear, SPEC, COST, evidence=evidence)
    assert (choice.winner.trial_id, choice.verdict, choice.not_compared) == ("t1", "proven", [])
    (other,) = choice.compared_with
    assert other.model_size == "tfidf"
    assert other.interval[0] < other.difference < other.interval[1]
    assert other.difference == pytest.approx(0.30, abs=0.03)
    assert all(p.f1_interval[0] < p.f1 < p.f1_interval[1] for p in [*choice.judged, choice.winner])


def test_a_baseline_far_behind_widens_no_bound():
    records, evidence = study([0.5, 0.12, 0.10], rows=1000)

    def width(found):
        point = next(p for p in decide(found, SPEC, COST, evidence=evidence).judged if p.trial_id == "t1")
        return point.loss_upper - point.loss

    # Holm with two comparisons instead of one would widen it by a fifth.
    assert width(records) < 1.1 * width([r for r in records if r.config.model_size != "m:0"])


def test_proven_is_wrong_in_at_most_one_case_of_twenty(monkeypatch):
    """Two cheaper models that are truly just outside the margin, the hardest truth: neither may be called proven."""
    # Fewer replicates than in a search, for time: they move a bound by a twentieth of its width at most.
    monkeypatch.setattr(significance, "REPLICATES", 500)
    monkeypatch.setattr(significance, "MIN_REPLICATES", 500)
    monkeypatch.setattr(screening, "REPLICATES", 200)
    rng, margin, wrong, cases = np.random.default_rng(7), 0.03, 0, 100
    for case in range(cases):
        truth, predictions, records = rng.integers(0, 2, 250), {}, []
        for number, accuracy in enumerate([0.80 - margin - 0.002, 0.80 - margin - 0.001, 0.80]):
            for run, confirms in [(f"t{number}", ""), *((f"c{number}{k}", f"t{number}") for k in range(3))]:
                right = rng.random(250) < accuracy + rng.normal(0, 0.006)
                predictions[run, "fp32", 128] = np.where(right, truth, 1 - truth)
                f1 = float(labels.scores(truth, [predictions[run, "fp32", 128]], "accuracy")[0])
                records.append(trial(run, f"m:{number}", f1, 0.01 * 2.5**number, confirms=confirms))
        evidence = labels.evidence(truth, predictions, metric="accuracy", seed=case)
        choice = decide(records, SelectionSpec(margin=margin), COST, evidence=evidence)
        wrong += choice.verdict == "proven" and choice.winner.trial_id != "t2"
    assert wrong <= 10, f"{wrong} of {cases}: 5 are promised, and 11 or more come by chance in 1 such test of 100"


@pytest.mark.parametrize("rows", [3, 6, 60, 140])
def test_few_rows_without_an_error_prove_nothing(rows):
    records, evidence = study([0.0, 0.0], rows=rows, seeds=2)
    for predictions in evidence.answers.values():
        predictions[:] = evidence.targets
    perfect = [r.replace(variants=[v.replace(f1=1.0) for v in r.variants]) for r in records]
    choice = decide(perfect, SPEC, COST, evidence=evidence, validation_rows=rows)
    assert (choice.verdict, choice.rows_needed) == ("within_noise", 150), "the rule of three: 3 / 150 = 2 points"
    assert f"{rows} rows and 2 seeds cannot separate it from m:1 to 2 points, about 150 rows would" in choice.reason
    assert all(point.f1_interval[0] <= 1.0 - 3.0 / rows for point in choice.judged)
    (compared,) = choice.compared_with
    assert compared.interval[0] < 0.0 < compared.interval[1]


def test_a_margin_of_0_between_equals_is_never_proven():
    records, evidence = study([0.1, 0.1], rows=400)
    for key in list(evidence.answers):
        evidence.answers[key][:] = evidence.answers["t0", "fp32", 128]
    f1 = records[0].variants[0].f1
    equal = [r.replace(variants=[v.replace(f1=f1) for v in r.variants]) for r in records]
    choice = decide(equal, SelectionSpec(margin=0.0), COST, evidence=evidence)
    assert (choice.verdict, choice.rows_needed) == ("within_noise", None)
    assert choice.reason.endswith("nor would more rows alone.")


def test_equal_scores_of_different_predictions_are_not_taken_for_a_training_without_a_seed():
    truth = np.arange(90) % 3
    runs = []
    for wrong in (slice(0, 9), slice(30, 39)):  # equally many errors of each label, on other rows
        predicted = truth.copy()
        predicted[wrong] = (truth[wrong] + 1) % 3
        runs.append(predicted)
    other = [np.roll(runs[0], 3), np.where(np.arange(90) < 15, (truth + 1) % 3, truth)]
    sample = labels.sample(truth, [runs, other], replicates=500)
    assert sample.observed[0][0] == sample.observed[0][1]
    assert (
        sample.difference(0, 1).seeds_variance
        > labels.sample(truth, [[runs[0]] * 2, other], replicates=500).difference(0, 1).seeds_variance
    )


def test_models_that_cost_nothing_are_compared():
    records, evidence = study([0.1, 0.1], rows=400)
    free = [r.replace(variants=[v.replace(usd_per_million_predictions=0.0) for v in r.variants]) for r in records]
    assert "$0 per million predictions" in decide(free, SPEC, COST, evidence=evidence).reason
