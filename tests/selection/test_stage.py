"""A reduced-precision winner is shipped only if it agrees with fp32 and loses no more than the margin."""

import numpy as np
import pytest

from lft_ray.candidates import TaskRecord
from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.errors import DamagedFileError, NoWinnerError
from lft_ray.records import ScoredVariant
from lft_ray.run.storage import Storage
from lft_ray.selection.front import points_of
from lft_ray.selection.stage import check_reduced_precision, choose_winner
from lft_ray.train.artifacts import put_predictions
from tests.selection.builders import trial
from tests.selection.labels import scorer, scores

ROWS = 2000
TASK = TaskRecord.of("classification", "macro_f1", {"labels": ["no", "yes"]})
USD = {"fp32": 0.10, "bf16": 0.06, "int8": 0.04}


@pytest.fixture
def checkpoint(tmp_path):
    """Make a trial right on 9 rows of 10 in fp32, on ``lost`` fewer in int8, where ``moved`` others change places."""
    truth = np.arange(ROWS) % 2
    exact = np.where(np.arange(ROWS) % 10 == 0, 1 - truth, truth)

    def make(trial_id="t001", *, lost=0, moved=0, confirms="", precision="int8", usd=USD):
        rounded = exact.copy()
        right = np.flatnonzero(exact == truth)[: lost + moved]
        rounded[right] = 1 - rounded[right]
        wrong = np.flatnonzero(exact != truth)[:moved]
        rounded[wrong] = truth[wrong]
        variants = []
        for name, labels in (("fp32", exact), (precision, rounded)):
            logits = np.eye(2, dtype=np.float32)[labels]
            uri = put_predictions(Storage(tmp_path), f"{trial_id}-{name}", np.arange(ROWS), truth, logits).uri
            f1 = float(scores(truth, [labels])[0])
            variants.append(
                ScoredVariant(
                    precision=name, max_length=64, f1=f1, predictions_uri=uri, usd_per_million_predictions=usd[name]
                )
            )
        return trial(trial_id, "m:1", 0, 0, variants=variants, confirms=confirms)

    return make


def checked(record, precision="int8", margin=0.005):
    point = next(point for point in points_of([record]) if point.precision == precision)
    return check_reduced_precision(record, point, scorer(np.zeros(1)), margin=margin)


def test_equal_predictions_pass_at_any_margin(checkpoint):
    check = checked(checkpoint(), margin=0.0)
    assert (check.passed, check.rows, check.agreement, check.f1_loss) == (True, ROWS, 1.0, 0.0)
    assert check.f1_loss_upper == pytest.approx(3.0 / ROWS, rel=0.01), "no other label on 2,000 rows is not none ever"
    assert check.reason == (
        "int8 of t001 (m:1, 64 tokens) gives 100.00% of 2,000 validation rows the prediction of fp32, and "
        "loses 0.00 points of macro-F1, at most 0.15 (95%)"
    )


def test_the_bound_of_the_loss_decides_not_the_loss(checkpoint):
    # 8 rows of 2,000 lost: 0.4 points, and its standard error is 0.14.
    check = checked(checkpoint(lost=8), margin=0.005)
    assert check.f1_loss == pytest.approx(0.004, abs=3e-4)
    assert check.f1_loss_upper == pytest.approx(0.004 + 1.645 * 0.0014, abs=6e-4)
    assert not check.passed
    assert check.reason.endswith("; at least 99% and at most 0.5 points are required")
    assert checked(checkpoint(lost=8), margin=0.008).passed


def test_too_many_other_labels_are_refused_though_none_is_lost(checkpoint):
    check = checked(checkpoint(moved=11), margin=0.1)
    assert (check.agreement, check.f1_loss) == (pytest.approx(0.989), pytest.approx(0.0, abs=1e-3))
    assert not check.passed
    assert checked(checkpoint(moved=10), margin=0.1).passed


def test_fp32_and_what_has_no_reference_are_not_checked(checkpoint):
    record = checkpoint()
    assert checked(record, "fp32") is None
    alone = record.model_copy(update={"variants": record.variants[1:]})
    assert checked(alone) is None


def test_missing_predictions_do_not_pass(checkpoint, tmp_path):
    record = checkpoint()
    unsaved = record.variants[1].replace(predictions_uri="")
    check = checked(record.replace(variants=[record.variants[0], unsaved]))
    assert not check.passed
    assert "predictions are missing" in check.reason
    (tmp_path / "t001-int8").unlink()
    with pytest.raises(DamagedFileError, match="t001-int8 are missing"):
        checked(record)
    other = checkpoint()
    wrong = other.variants[1].model_copy(update={"f1": 0.5})
    assert not checked(other.model_copy(update={"variants": [other.variants[0], wrong]})).passed


def chosen(records, **spec):
    spec = SelectionSpec(**({"confirmation_fraction": 0, "margin": 0.005} | spec))
    return choose_winner(records, spec, CostSpec(), task=TASK)


def test_the_cheaper_int8_wins_if_its_predictions_agree(checkpoint):
    selection = chosen([checkpoint(moved=2)])
    assert (selection.winner.precision, selection.winner.usd_per_million_predictions) == ("int8", 0.04)
    assert [check.passed for check in selection.precision_checks] == [True]


def test_fp32_of_the_same_checkpoint_wins_if_int8_disagrees(checkpoint):
    selection = chosen([checkpoint(moved=30)])
    assert (selection.winner.precision, selection.winner.usd_per_million_predictions) == ("fp32", 0.10)
    assert [(check.precision, check.passed) for check in selection.precision_checks] == [("int8", False)]
    assert {point.precision for point in selection.front} == {"fp32"}


def test_int8_of_another_checkpoint_may_win_instead(checkpoint):
    cheapest = checkpoint("t001", moved=30, usd={"fp32": 0.09, "int8": 0.03})
    selection = chosen([cheapest, checkpoint("t002", moved=3)])
    assert (selection.winner.trial_id, selection.winner.precision) == ("t002", "int8")
    assert [(c.trial_id, c.passed) for c in selection.precision_checks] == [("t001", False), ("t002", True)]


def test_the_shipped_confirmation_run_is_checked_not_the_search_trial(checkpoint):
    records = [checkpoint("t001"), checkpoint("c001", moved=30, confirms="t001")]
    selection = chosen(records)
    assert selection.precision_checks[0].trial_id == "c001"
    assert (selection.winner.trial_id, selection.winner.precision) == ("t001", "fp32")
    assert selection.winner_seed_trial_id == "c001"


def test_without_a_variant_left_the_error_lists_what_was_refused(checkpoint):
    with pytest.raises(NoWinnerError, match=r"Refused: int8 of t001 .* gives 97\.00%"):
        chosen([checkpoint(moved=30)], max_usd_per_million=0.05)


def test_bf16_is_checked_like_int8(checkpoint):
    selection = chosen([checkpoint(moved=30, precision="bf16")])
    assert selection.winner.precision == "fp32"
    assert chosen([checkpoint(precision="bf16")]).winner.precision == "bf16"
