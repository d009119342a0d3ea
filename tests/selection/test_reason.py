"""The sentence that explains a choice."""

import pytest

from lft_ray.config import SelectionSpec
from lft_ray.records import Cascade, ConfirmationCount, FrontPoint, JudgedPoint, NotCompared
from lft_ray.selection.reason import Facts, cascade_sentence, not_compared_sentence, reason_of
from lft_ray.selection.screening import is_linear
from lft_ray.selection.verdict import Verdict

SPEC = SelectionSpec(margin=0.005)


def point(trial_id, size, f1, usd, **fields):
    values = {"precision": "fp32", "max_length": 128, "search_f1": f1, "fresh_f1": [f1, f1]} | fields
    return JudgedPoint(trial_id=trial_id, model_size=size, f1=f1, usd_per_million_predictions=usd, **values)


BEST = point("t2", "minilm:6", 0.915, 0.08, standing="best")
CHEAP = point("t1", "minilm:3", 0.912, 0.04, loss=0.003, loss_upper=0.0049, standing="proven")


def reason(winner, *judged, doubt="", rows_needed=None, spec=SPEC, **facts):
    verdict = Verdict(judged, doubt, rows_needed, rows=2000, seeds=2)
    return reason_of(winner, judged, spec, Facts(metric_name="macro-F1", verdict=verdict, **facts))


def test_reason_of_a_cheaper_winner_states_loss_bound_and_saving():
    assert reason(CHEAP, CHEAP, BEST) == (
        "minilm:3: -0.3 macro-F1 points (95% upper bound 0.5) for 2.0x less per million predictions than minilm:6; "
        "proven against minilm:6 on 2,000 rows, 2 seeds."
    )


def test_reason_of_the_best_winner_says_why_no_cheaper_one_won():
    assert reason(BEST, CHEAP, BEST).startswith(
        "minilm:6 has the best macro-F1, 0.915 (mean of 2 fresh seeds), and minilm:3, which is cheaper, is not within "
        "the margin of 0.5 points; "
    )
    small = point("t0", "tfidf", 0.6, 0.01)
    assert "and none of the cheaper minilm:3 and tfidf is within the margin" in reason(BEST, CHEAP, small, BEST)


def test_nothing_is_said_of_cheaper_models_that_were_not_compared():
    costly = point("t3", "minilm:12", 0.91, 0.2)
    best = (BEST, BEST, costly)
    assert "and nothing that finished is cheaper ($0.08 per million predictions)" in reason(*best)
    assert "and nothing cheaper was compared ($0.08 per million predictions)" in reason(*best, is_cheapest=False)
    alone = reason(BEST, BEST, doubt="unopposed")
    assert alone.startswith("minilm:6 is all there is to choose from: macro-F1, 0.915 (mean of 2 fresh seeds), $0.08 ")
    assert alone.endswith("unopposed: nothing else finished, so it was compared with nothing.")
    assert "margin" not in alone
    ruled_out = reason(BEST, BEST, doubt="unopposed", other_sizes=2)
    assert ruled_out.endswith("one run of every other size that finished rules it out, so none was trained again.")


def test_a_study_whose_trials_mostly_failed_says_so_first():
    text = reason(CHEAP, CHEAP, BEST, failures="4 of 6 trials failed: No space left on device")
    assert text.startswith("4 of 6 trials failed: No space left on device; minilm:3: -0.3")


def test_failed_confirmation_runs_are_not_called_runs_that_were_not_made():
    count = ConfirmationCount(done=0, failed=2, causes={"out of memory": 2})
    text = reason(CHEAP, CHEAP, BEST, doubt="no_fresh_seeds", confirmations=count)
    assert text.endswith("not proven: 2 failed of 2 confirmation runs: out of memory.")


def test_what_could_not_be_compared_is_named():
    missing = (NotCompared(model_size="minilm:4", trial_id="t5", reason="no time"),)
    text = reason(CHEAP, CHEAP, BEST, doubt="not_compared", missing=missing)
    assert text.endswith("not proven: minilm:4 could not be compared.")
    sentence = "Not compared, although one seed cannot rule it out: minilm:4 (t5: no time)."
    assert (not_compared_sentence(missing), not_compared_sentence([])) == (sentence, "")


def test_reason_of_a_linear_winner_says_that_no_transformer_was_needed():
    linear = point("t1", "tfidf", 0.912, 0.01, loss=0.003)
    assert ", and no transformer was needed; proven" in reason(linear, linear, BEST)
    assert "transformer" not in reason(linear, linear, point("t9", "tfidf", 0.9, 0.02)), "none was compared"


@pytest.mark.parametrize(
    ("doubt", "rows_needed", "ending"),
    [
        ("no_fresh_seeds", None, "the best of several search scores is optimistic."),
        ("no_predictions", None, "not proven: there are no saved predictions to bound the loss with."),
        ("one_seed", None, "within noise: one seed per finalist does not show how far seeds differ."),
        (
            "noise",
            4321,
            "2,000 rows and 2 seeds cannot separate it from minilm:6 to 0.5 points, about 4,400 rows would.",
        ),
        ("noise", None, "to 0.5 points, nor would more rows alone: the seeds differ too much."),
    ],
)
def test_reason_ends_with_the_certainty(doubt, rows_needed, ending):
    assert reason(CHEAP, CHEAP, BEST, doubt=doubt, rows_needed=rows_needed).endswith(ending)


def test_what_is_worse_for_sure_is_not_among_what_noise_cannot_separate():
    worse = point("t0", "tfidf", 0.6, 0.01, loss=0.3).replace(standing="worse")
    near = point("t2", "minilm:4", 0.914, 0.05, loss=0.001)
    text = reason(BEST, worse, near, BEST, doubt="noise")
    assert "none of the cheaper tfidf and minilm:4 is within" in text
    assert "cannot separate it from minilm:4 to" in text


def test_reason_has_no_minus_zero():
    equal = point("t1", "minilm:3", 0.915, 0.04, loss=0.0, loss_upper=-0.0001)
    best = BEST.replace(f1=0.9151)
    assert "-0.0 macro-F1 points (95% upper bound 0.0)" in reason(equal, equal, best)


def test_cascade_sentence_mentions_the_test_split_only_if_there_is_one():
    small, large = (
        FrontPoint.model_validate(p.model_dump(include=set(FrontPoint.model_fields))) for p in (CHEAP, BEST)
    )
    cascade = Cascade(
        small=small, large=large, temperature=1.0, threshold=0.8, share=0.25, f1=0.914, small_f1=0.912, large_f1=0.915,
        usd_per_million_predictions=0.06, margin=0.005, validation_rows=2000,
        test_f1=None, test_share=None, test_rows=0,
    )  # fmt: skip
    sentence = cascade_sentence(cascade)
    assert sentence.startswith("minilm:3 with minilm:6 for the 25% of texts of low confidence: F1 0.914 at $0.06 per")
    assert "test" not in sentence
    tested = cascade_sentence(cascade.replace(test_f1=0.91, test_rows=500))
    assert tested.endswith("; on the 500 test rows, evaluated once: F1 0.910.")


def test_is_linear():
    assert (is_linear("tfidf"), is_linear("tfidf:2"), is_linear("minilm:2")) == (True, True, False)


def test_a_cost_that_is_the_same_when_printed_is_no_saving():
    near = CHEAP.replace(usd_per_million_predictions=0.0799)
    assert "at $0.0799 per million predictions against $0.08 of minilm:6" in reason(near, near, BEST)


def test_linear_models_have_no_seeds_to_count_and_a_margin_of_0_none_to_blame():
    verdict = Verdict((BEST, CHEAP), "noise", None, rows=60, seeds=0)
    facts = Facts(metric_name="macro-F1", verdict=verdict)
    assert "within noise: 60 rows cannot separate it from minilm:3 to 0.5 points, nor would more rows alone: the " in (
        reason_of(BEST, (BEST, CHEAP), SPEC, facts)
    )
    assert reason_of(BEST, (BEST, CHEAP), SelectionSpec(margin=0.0), facts).endswith("nor would more rows alone.")
