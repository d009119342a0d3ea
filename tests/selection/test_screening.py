"""Which sizes one seed cannot rule out."""

import numpy as np

from lft_ray.config import SelectionSpec
from lft_ray.records import FrontPoint
from lft_ray.selection.screening import Noise, sizes_in_question
from tests.selection.labels import evidence as evidence_of
from tests.selection.labels import scores

SPEC = SelectionSpec(margin=0.005)
MANY = 10**9


def point(number, f1, usd):
    values = {"precision": "fp32", "max_length": 128, "f1": f1, "usd_per_million_predictions": usd}
    return FrontPoint(trial_id=f"t{number}", model_size=f"m:{number}", **values)


def asked(best, *rivals, spec=SPEC, rows=2000, **noise):
    return [p.trial_id for p in sizes_in_question(best, rivals, spec, Noise(rows, **noise))]


def test_a_cheaper_size_that_one_seed_says_too_little_of_is_in_question():
    # .701 against .715 on one seed at a lower price.
    assert asked(point(4, 0.715, 0.05), point(3, 0.701, 0.038), rows=400) == ["t3"]


def test_far_behind_is_ruled_out_and_fewer_rows_rule_out_less():
    best, far = point(6, 0.92, 0.1), point(1, 0.86, 0.01)
    assert asked(best, far, rows=20_000) == []
    assert asked(best, far, rows=50) == ["t1"]


def test_costlier_sizes_matter_only_above_the_margin_and_best_f1_asks_it_of_all():
    best, cheap, costly = point(3, 0.92, 0.05), point(2, 0.901, 0.02), point(6, 0.901, 0.1)
    assert asked(best, cheap, costly, rows=MANY) == ["t2"]
    assert asked(best, cheap, costly, rows=MANY, spec=SelectionSpec(margin=0.005, policy="best_f1")) == []
    assert asked(best, point(6, 0.919, 0.1), rows=MANY) == ["t6"], "another seed may put it above"


def test_a_linear_model_adds_no_seed_noise():
    best, rival, spec = point(6, 0.92, 0.1), point(1, 0.8985, 0.01), SelectionSpec(margin=0.01)
    assert asked(best, rival, rows=MANY, spec=spec) == ["t1"]
    assert asked(best, rival.replace(model_size="tfidf"), rows=MANY, spec=spec) == []


def test_more_sizes_are_ruled_out_with_more_care():
    best, rival = point(9, 0.92, 0.5), point(1, 0.9, 0.01)
    assert asked(best, rival, rows=MANY) == []
    assert asked(best, rival, *(point(i, 0.5, 0.01 * i) for i in range(2, 8)), rows=MANY) == ["t1"]


def test_predictions_on_the_same_rows_say_more_than_the_binomial():
    rng = np.random.default_rng(0)
    truth, hardness = rng.integers(0, 3, 1000), rng.random(1000)
    predictions, points = {}, []
    for number, share in ((6, 0.10), (1, 0.125)):
        predicted = np.where(hardness < share, (truth + 1) % 3, truth)  # nested errors: hardly any noise
        points.append(point(number, float(scores(truth, [predicted])[0]), 0.01 * number))
        predictions[f"t{number}", "fp32", 128] = predicted
    evidence = evidence_of(truth, predictions)
    assert asked(*points, rows=1000) == ["t1"]
    assert asked(*points, rows=1000, evidence=evidence) == []
    other = points[0].replace(f1=points[0].f1 - 0.0001)
    assert asked(other, points[1], rows=1000, evidence=evidence) == ["t1"], "these are not its predictions"
