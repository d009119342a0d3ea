import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.replaying.simulator import simulate, synthetic_rows
from benchmarks.replaying.table import load, of_rows
from lft_ray.records import TrialConfig
from tests.benchmarks.tables import COSTS, RATES, rows, table


def config(size="minilm:2", rate=3e-4, epochs=3):
    return TrialConfig(model_size=size, learning_rate=rate, batch_size=32, epochs=epochs, max_length=64)


def test_interpolation_is_exact_at_recorded_rates_and_flagged_between():
    found = simulate(3)
    cell = {"batch_size": 32, "epochs": 3, "max_length": 64}
    recorded = [found.curve(TrialConfig(model_size="minilm:4", learning_rate=r, **cell), 1) for r in found.rates]
    assert not any(curve.interpolated for curve in recorded)
    runs, points, _ = synthetic_rows(3)
    run = next(r for r in runs if (r["size"], r["seed"], r["lr"], r["epochs"]) == ("minilm:4", 1, 3e-4, 3))
    f1s = [p["val_f1"] for p in points if p["run_id"] == run["run_id"]]
    np.testing.assert_array_equal(recorded[found.rates.index(3e-4)].f1, f1s)
    for low, high, left, right in zip(found.rates, found.rates[1:], recorded, recorded[1:], strict=False):
        near = found.curve(TrialConfig(model_size="minilm:4", learning_rate=low * 1.0001, **cell), 1)
        assert near.interpolated
        np.testing.assert_allclose(near.f1, left.f1, atol=1e-3)
        between = found.curve(TrialConfig(model_size="minilm:4", learning_rate=(low * high) ** 0.5, **cell), 1)
        assert np.all(between.f1 >= np.minimum(left.f1, right.f1) - 1e-9)
        assert np.all(between.f1 <= np.maximum(left.f1, right.f1) + 1e-9)
        assert np.all(np.diff(between.train_s) > 0)
        assert np.all(np.diff(between.usd) > 0)


def test_every_recorded_seed_is_drawn_once_before_any_twice_and_alike_for_all_methods():
    found = table(seeds=3)
    orders = [found.visit_order(config(), seed) for seed in range(20)]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert found.visit_order(config(), 7) == table(seeds=3).visit_order(config(), 7)


def test_what_a_model_is_worth_leaves_out_the_seed_that_the_search_saw():
    found = table(spread=0.01)
    assert found.final_f1(config()) == pytest.approx(0.90)
    assert found.final_f1(config(), without=2) == pytest.approx(0.895)
    assert found.final_f1(config(), without=0) == pytest.approx(0.905)


def test_costs_are_those_of_the_recorded_precision_and_length():
    assert table().usd_per_million == COSTS
    assert table().sizes == ["tfidf", "minilm:1", "minilm:2"]


def test_a_seed_without_all_its_rates_is_left_out_and_schedules_that_a_size_lacks_are():
    runs, points, serve = rows()
    gap = next(r for r in runs if (r["size"], r["seed"], r["lr"], r["epochs"]) == ("minilm:1", 2, 1e-4, 1))
    found = of_rows("gap", [r for r in runs if r is not gap], points, serve)
    assert found.seeds(config("minilm:1", epochs=1)) == [0, 1]
    assert found.seeds(config("minilm:2", epochs=1)) == [0, 1, 2]
    short = of_rows("short", [r for r in runs if not (r["size"] == "minilm:1" and r["epochs"] == 3)], points, serve)
    assert short.epochs == [1]
    assert short.rates == list(RATES)


def test_a_table_with_too_little_is_refused():
    runs, points, serve = rows(seeds=1)
    with pytest.raises(ValueError, match="no network is recorded with two seeds"):
        of_rows("one", runs, points, serve)


def test_parquet_gives_the_same_table_and_another_score_another_digest(tmp_path):
    runs, points, serve = rows()
    for name, data in (("runs", runs), ("points", points), ("serve", serve)):
        pq.write_table(pa.Table.from_pylist(data), tmp_path / f"{name}.parquet")
    assert load(tmp_path).digest == table().digest
    assert table(spread=0.001).digest != table().digest


def test_a_run_that_diverged_is_visited_at_no_cost_after_its_end_and_leaves_no_model():
    runs, points, serve = rows()
    broken = next(r for r in runs if (r["size"], r["seed"], r["lr"], r["epochs"]) == ("minilm:2", 0, 1e-3, 3))
    broken["status"] = "infeasible"
    kept = [p for p in points if p["run_id"] != broken["run_id"] or p["step"] < 2]
    curve = of_rows("broken", runs, kept, serve).curve(config(rate=1e-3), 0)
    assert not curve.is_done
    assert len(curve.f1) == 3
    assert curve.usd[-1] == curve.usd[-2] == pytest.approx(0.4)
