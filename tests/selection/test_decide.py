import random

import pytest

from lft_ray.config import CostSpec, SelectionSpec, TrafficSpec
from lft_ray.errors import ConfigError, NoWinnerError
from lft_ray.records import FrontPoint, ScoredVariant, Selection
from lft_ray.selection.decide import decide
from lft_ray.selection.finalists import eligible_points, finalists
from tests.selection.builders import study, trial

COST = CostSpec()
SPEC = SelectionSpec()


def most_expensive(points, *, margin):
    return max(points, key=lambda p: p.usd_per_million_predictions)


def foreign(points, *, margin):
    return FrontPoint(trial_id="x", model_size="x", precision="fp32", max_length=1, f1=1, usd_per_million_predictions=0)


def test_the_cheapest_within_the_margin_wins_and_the_reason_says_so():
    choice = decide(study(), SPEC, COST)
    assert choice.winner.trial_id == "t2"
    assert choice.winner_seed_trial_id == "t2"
    assert choice.reason == (
        "minilm:3: -0.3 F1 points for 2.1x less per million predictions than minilm:6; "
        "not proven: no fresh seeds were run, and the best of several search scores is optimistic."
    )
    assert [p.trial_id for p in choice.front] == ["t1", "t2", "t3"]
    assert choice.test_f1 is None
    assert choice.excluded == {"t5": "stopped: deadline"}


def test_the_margin_is_not_lost_to_binary_rounding():
    records = [trial("a", "minilm:1", 0.915, 0.01), trial("b", "minilm:6", 0.920, 0.1)]
    assert decide(records, SelectionSpec(margin=0.005), COST).winner.trial_id == "a"
    assert decide(records, SelectionSpec(margin=0.0049), COST).winner.trial_id == "b"


def test_a_stopped_trial_never_wins_however_good_it_looks():
    choice = decide(study(), SPEC, COST)
    assert "t5" not in {p.trial_id for p in [*choice.front, *choice.ladder, *choice.finalists, choice.winner]}


def test_best_f1_ignores_cost_and_a_tie_goes_to_the_cheaper():
    assert decide(study(), SelectionSpec(policy="best_f1"), COST).winner.trial_id == "t3"
    tie = [*study(), trial("t7", "minilm:4", 0.915, 0.06)]
    assert decide(tie, SelectionSpec(policy="best_f1"), COST).winner.trial_id == "t7"


def test_tfidf_may_win_and_the_reason_says_that_no_transformer_was_needed():
    choice = decide([trial("t1", "tfidf", 0.914, 0.01), trial("t2", "minilm:6", 0.915, 0.1)], SPEC, COST)
    assert "for 10.0x less per million predictions than minilm:6, and no transformer was needed; not" in choice.reason
    alone = decide([trial("t1", "tfidf", 0.914, 0.01)], SPEC, COST)
    assert alone.reason == (
        "tfidf is all there is to choose from: F1, 0.914, $0.01 per million predictions; "
        "unopposed: nothing else finished, so it was compared with nothing."
    )
    assert (alone.verdict, alone.compared_with) == ("unopposed", [])


def test_a_best_winner_is_said_to_be_the_best():
    records = [trial("t1", "tfidf", 0.89, 0.01), trial("t2", "minilm:6", 0.9, 0.1)]
    assert decide(records, SPEC, COST, metric_name="accuracy").reason.startswith(
        "minilm:6 has the best accuracy, 0.900, and tfidf, which is cheaper, is not within the margin of 0.5 points; "
    )
    best = decide(records, SelectionSpec(policy="best_f1"), COST).reason
    assert best.startswith("minilm:6 has the best F1, 0.900, at $0.1 per million predictions; ")


def test_a_users_policy_is_called_and_must_return_one_of_the_points():
    choice = decide(study(), SelectionSpec(policy="tests.selection.test_decide:most_expensive"), COST)
    assert choice.winner.trial_id == "t3"
    with pytest.raises(ConfigError, match="not one of the 5 points"):
        decide(study(), SelectionSpec(policy="tests.selection.test_decide:foreign"), COST)
    with pytest.raises(ConfigError, match="Did you mean 'cheapest_within'"):
        decide(study(), SelectionSpec(policy="cheapest_withn"), COST)


def test_caps_keep_points_from_winning_and_say_why():
    cost = CostSpec(traffic=TrafficSpec(p95_ms=50))
    records = [*study(), trial("t7", "minilm:4", 0.930, 0.045, p95_ms=80), trial("t8", "big", 0.93, 0.02, p95_ms=None)]
    spec = SelectionSpec(max_usd_per_million=0.06)
    choice = decide(records, spec, cost)
    assert choice.winner.trial_id == "t2"
    assert choice.excluded["t3"] == "$0.084 per million predictions is above selection.max_usd_per_million 0.06"
    assert choice.excluded["t7"] == "p95 80 ms is above cost.traffic.p95_ms 50"
    assert choice.excluded["t8"] == "its p95 latency was not measured, and cost.traffic.p95_ms is 50"
    # The front shows what was measured; a cap only says who may win.
    assert "t8" in {p.trial_id for p in choice.front}


def test_a_trial_is_excluded_only_if_all_its_variants_are():
    variants = [
        ScoredVariant(precision=p, max_length=128, f1=0.9, usd_per_million_predictions=usd)
        for p, usd in (("fp32", 1.0), ("bf16", 0.1))
    ]
    found = eligible_points([trial("t1", "m", 0, 0, variants=variants)], SelectionSpec(max_usd_per_million=0.5), COST)
    assert found.excluded == {}
    assert [p.precision for p in found.eligible] == ["bf16"]


def test_finalists_are_best_choice_cheapest_octaves_and_every_size_in_question():
    records = [*study(), trial("t7", "minilm:4", 0.9085, 0.02), trial("t8", "minilm:5", 0.913, 0.07)]
    found = finalists(records, SPEC, COST, validation_rows=10_000)
    # The best (t3), the choice (t2), the cheapest (t1), t8 and t7 of their octaves; t4 is dominated by t2, and one seed
    # of each leaves open whether it is.
    assert [p.trial_id for p in found] == ["t3", "t2", "t1", "t7", "t8", "t4"]
    far = [*records, trial("t9", "minilm:9", 0.7, 0.03)]
    assert finalists(far, SPEC, COST, validation_rows=10_000) == found, "20 points below, no seed brings it back"


def test_a_costlier_size_is_in_question_only_if_it_may_be_better_by_more_than_the_margin():
    records = [trial("t1", "m:1", 0.90, 0.01), trial("t2", "m:2", 0.895, 0.1), trial("t3", "m:3", 0.86, 0.2)]
    assert [p.trial_id for p in finalists(records, SPEC, COST, validation_rows=2000)] == ["t1", "t2"]
    certain = finalists(records, SelectionSpec(margin=0.05), COST, validation_rows=2000)
    assert [p.trial_id for p in certain] == ["t1"], "a margin this wide forgives what t2 may be better by"


def test_there_are_at_most_eight_finalists_in_the_order_of_importance():
    records = [trial(f"t{i:02d}", f"m:{i}", 0.90 + 0.0001 * i, 0.01 * 2**i) for i in range(11)]
    found = finalists(records, SPEC, COST)
    assert [p.trial_id for p in found] == ["t10", "t00", "t01", "t02", "t03", "t04", "t05", "t06"]


def test_the_default_configuration_of_the_chosen_size_is_a_finalist_too():
    start = trial("t0", "minilm:3", 0.880, 0.04).model_copy(update={"start": True})
    other = trial("t9", "minilm:6", 0.880, 0.084).model_copy(update={"start": True})
    assert [p.trial_id for p in finalists([start, other, *study()], SPEC, COST)] == ["t3", "t2", "t1", "t4", "t0"]
    best = SelectionSpec(policy="best_f1")
    assert finalists([start, other, *study()], best, COST)[-1].trial_id == "t9"
    fresh = [("c0", "minilm:3", 0.92, "t0"), ("c1", "minilm:3", 0.90, "t2"), ("c2", "minilm:6", 0.915, "t3")]
    records = [*study(), start, *(trial(i, size, f1, 0.04, confirms=of) for i, size, f1, of in fresh)]
    assert decide(records, SPEC, COST).winner.trial_id == "t0"


def test_the_cheapest_is_a_finalist_however_far_behind():
    records = [trial("t1", "tfidf", 0.5, 0.01), trial("t2", "minilm:6", 0.9, 0.1)]
    assert [p.trial_id for p in finalists(records, SPEC, COST)] == ["t2", "t1"]
    capped = CostSpec(traffic=TrafficSpec(p95_ms=50))
    slow = [trial("t1", "tfidf", 0.5, 0.01, p95_ms=80), records[1]]
    assert [p.trial_id for p in finalists(slow, SPEC, capped)] == ["t2"], "what may not win is no finalist"


def test_fresh_seeds_replace_the_score_of_the_search():
    records = [
        *study(),
        trial("c1", "minilm:3", 0.904, 0.04, confirms="t2"),
        trial("c2", "minilm:3", 0.906, 0.04, confirms="t2"),
        trial("c3", "minilm:6", 0.914, 0.084, confirms="t3"),
    ]
    choice = decide(records, SPEC, COST)
    assert choice.winner.trial_id == "t3"
    assert choice.winner.f1 == pytest.approx(0.914)
    assert choice.winner_seed_trial_id == "c3"
    assert choice.confirmed_f1 == {"t2": [0.904, 0.906], "t3": [0.914]}
    assert "0.914 (one fresh seed)" in choice.reason


def test_the_checkpoint_of_median_f1_is_shipped_not_the_luckiest():
    scores = {"c1": 0.9135, "c2": 0.9115, "c3": 0.9125}
    confirmed = [trial(i, "minilm:3", f1, 0.04, confirms="t2") for i, f1 in scores.items()]
    choice = decide([*study(), *confirmed], SPEC, COST)
    assert choice.winner.trial_id == "t2"
    assert choice.winner.f1 == pytest.approx(0.9125)
    assert choice.winner_seed_trial_id == "c3"
    assert choice.judged[1].fresh_f1 == [0.9135, 0.9115, 0.9125]
    # One finalist ran, the best of the search did not: it keeps its place as what losses are measured against. The
    # linear model needs no run.
    standing = [(p.trial_id, p.standing) for p in choice.judged]
    assert standing == [("t1", "within_noise"), ("t2", "within_noise"), ("t3", "best")]
    assert [n.model_size for n in choice.not_compared] == ["minilm:6", "minilm:2"]
    two = decide([*study(), *confirmed[:2]], SPEC, COST)
    assert two.winner_seed_trial_id == "c2"


def test_only_confirmed_finalists_may_win_once_fresh_runs_exist():
    lucky = trial("t7", "minilm:1", 0.9149, 0.015)
    assert "t7" in {p.trial_id for p in finalists([*study(), lucky], SPEC, COST)}
    confirmed = [trial("c1", "minilm:3", 0.890, 0.04, confirms="t2"), trial("c2", "minilm:6", 0.9, 0.08, confirms="t3")]
    choice = decide([*study(), lucky, *confirmed], SPEC, COST)
    assert choice.winner.trial_id == "t3"
    assert [p.trial_id for p in choice.judged] == ["t1", "t2", "t3"]
    assert [n.trial_id for n in choice.not_compared] == ["t7", "t4"]


def test_a_confirmed_point_keeps_its_place_when_the_search_goes_on():
    confirmed = [trial("c1", "minilm:3", 0.93, 0.04, confirms="t6"), trial("c2", "minilm:6", 0.9, 0.08, confirms="t3")]
    assert "t6" not in {p.trial_id for p in finalists(study(), SPEC, COST)}
    assert decide([*study(), *confirmed], SPEC, COST).winner.trial_id == "t6"


def test_failed_and_stopped_fresh_runs_are_ignored():
    records = [*study(), trial("c1", "minilm:3", 0, 0, status="failed", confirms="t2")]
    choice = decide(records, SPEC, COST)
    assert choice.confirmed_f1 == {}
    assert choice.winner.trial_id == "t2"


def test_a_fresh_run_is_read_at_the_points_own_precision():
    both = [
        ScoredVariant(precision="fp32", max_length=128, f1=0.912, usd_per_million_predictions=0.04),
        ScoredVariant(precision="bf16", max_length=128, f1=0.911, usd_per_million_predictions=0.02),
    ]
    fresh = [v.model_copy(update={"f1": f}) for v, f in zip(both, (0.913, 0.909), strict=True)]
    records = [
        trial("t1", "minilm:3", 0, 0, variants=both),
        trial("c1", "minilm:3", 0, 0, variants=fresh, confirms="t1"),
    ]
    choice = decide(records, SPEC, COST)
    assert (choice.winner.precision, choice.winner.f1) == ("bf16", 0.909)
    assert choice.confirmed_f1 == {"t1": [0.909]}


def test_the_order_of_the_records_does_not_matter():
    records = [*study(), trial("c1", "minilm:3", 0.912, 0.04, confirms="t2"), trial("t9", "minilm:3", 0.912, 0.04)]
    expected = decide(records, SPEC, COST).model_copy(update={"decided_at": ""})
    for seed in range(20):
        shuffled = random.Random(seed).sample(records, len(records))
        assert decide(shuffled, SPEC, COST).model_copy(update={"decided_at": ""}) == expected


def test_the_selection_survives_the_json_round_trip():
    choice = decide(study(), SPEC, COST)
    assert Selection.model_validate_json(choice.model_dump_json()) == choice


def test_no_winner_says_how_the_trials_ended():
    records = [
        trial("t1", "a", 0, 0, status="failed", reason="out of memory"),
        trial("t2", "a", 0, 0, status="stopped", reason="deadline"),
    ]
    with pytest.raises(NoWinnerError) as error:
        decide(records, SPEC, COST)
    assert error.value.exit_code == 3
    assert "no trial finished (0 done, 1 stopped, 1 failed, 0 infeasible)" in str(error.value)
    assert "search.minutes" in error.value.fix
    with pytest.raises(NoWinnerError, match="no trial finished"):
        decide([], SPEC, COST)


def test_no_winner_names_the_cap_that_excluded_the_points():
    with pytest.raises(NoWinnerError) as error:
        decide(study(), SelectionSpec(max_usd_per_million=0.005), COST)
    text = str(error.value)
    assert "(5 done, 1 stopped, 0 failed, 0 infeasible)" in text
    assert "selection.max_usd_per_million excluded 5" in text
    assert "The cheapest is tfidf (t1) at $0.01" in text
    assert "raise selection.max_usd_per_million" in error.value.fix
    with pytest.raises(NoWinnerError, match=r"cost.traffic.p95_ms excluded 5"):
        decide(study(), SPEC, CostSpec(traffic=TrafficSpec(p95_ms=1)))
