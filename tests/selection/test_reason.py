"""The sentence that explains a choice."""

import pytest

from lft_ray.config import SelectionSpec
from lft_ray.records import Cascade, FrontPoint, JudgedPoint
from lft_ray.selection.reason import Facts, cascade_sentence, is_linear, metric_name, reason_of
from lft_ray.selection.verdict import Verdict

SPEC = SelectionSpec(margin=0.005)


def point(trial_id, size, f1, usd, **fields):
    values = {"precision": "fp32", "max_length": 128, "search_f1": f1, "fresh_f1": [f1, f1]} | fields
    return JudgedPoint(trial_id=trial_id, model_size=size, f1=f1, usd_per_million_predictions=usd, **values)


BEST = point("t2", "minilm:6", 0.915, 0.08, standing="best")
CHEAP = point("t1", "minilm:3", 0.912, 0.04, loss=0.003, loss_upper=0.0049, standing="proven")


def reason(winner, *judged, doubt="", rows_needed=None, trials=8, spec=SPEC):
    verdict = Verdict(judged, doubt, rows_needed, rows=2000, seeds=2)
    return reason_of(winner, judged, spec, Facts(metric="macro_f1", trials=trials, verdict=verdict))


def test_reason_of_a_cheaper_winner_states_loss_bound_and_saving():
    assert reason(CHEAP, CHEAP, BEST) == (
        "minilm:3: -0.3 macro-F1 points (95% upper bound 0.5) for 2.0x less per million predictions than minilm:6; "
        "proven on 2,000 rows, 2 seeds."
    )


def test_reason_of_the_best_winner_says_why_no_cheaper_one_won():
    assert reason(BEST, CHEAP, BEST).startswith(
        "minilm:6 has the best macro-F1, 0.915 (mean of 2 fresh seeds), and no cheaper finalist comes within the margin"
    )
    assert "and no cheaper finalist was found ($0.08 per million predictions)" in reason(BEST, BEST)


def test_reason_of_a_linear_winner_says_that_no_transformer_was_needed():
    linear = point("t1", "tfidf", 0.912, 0.01, loss=0.003)
    assert ", and no transformer was needed; proven" in reason(linear, linear, BEST)


@pytest.mark.parametrize(
    ("doubt", "rows_needed", "trials", "ending"),
    [
        ("no_fresh_seeds", None, 1, "not proven, as it is one run without fresh seeds."),
        ("no_fresh_seeds", None, 8, "the best of several search scores is optimistic."),
        ("no_predictions", None, 8, "not proven: there are no saved predictions to bound the loss with."),
        ("one_seed", None, 8, "within noise: one seed per finalist does not show how far seeds differ."),
        (
            "noise",
            4321,
            8,
            "2,000 rows and 2 seeds cannot separate the finalists to 0.5 points, about 4,400 rows would.",
        ),
        ("noise", None, 8, "to 0.5 points, nor would more rows alone: the seeds differ too much."),
    ],
)
def test_reason_ends_with_the_certainty(doubt, rows_needed, trials, ending):
    assert reason(CHEAP, CHEAP, BEST, doubt=doubt, rows_needed=rows_needed, trials=trials).endswith(ending)


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


def test_metric_name_and_is_linear():
    assert (metric_name("macro_f1"), metric_name("my_score")) == ("macro-F1", "my_score")
    assert (is_linear("tfidf"), is_linear("tfidf:2"), is_linear("minilm:2")) == (True, True, False)
