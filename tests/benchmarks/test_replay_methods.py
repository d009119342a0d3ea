import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.replaying.clock import replay
from benchmarks.replaying.methods import BASELINES, is_available, make
from benchmarks.replaying.product import MemoryStorage, Product
from benchmarks.replaying.run import Job, OutcomeCache, run_job
from benchmarks.replaying.simulator import simulate, synthetic_rows
from benchmarks.replaying.start import Given
from benchmarks.replaying.stock_ray import StockRay
from benchmarks.replaying.syne import find_python
from lft_ray.records import TrialStatus
from lft_ray.run.ledger import Ledger

REPO = Path(__file__).resolve().parents[2]
LOCAL = [name for name in BASELINES if name not in {"gp", "syne_mo_asha"}]


@pytest.fixture(scope="module")
def given():
    return Given.of(simulate(0))


def run(given, method, *, seed=0, units=10):
    return replay(given.table, method, seed=seed, budget_usd=units * given.table.mean_trial_usd())


def signature(history):
    return [(e.trial_id, e.config, e.seed, round(e.at_s, 6), e.reason) for e in history.ended]


@pytest.mark.parametrize("name", LOCAL)
def test_equal_seeds_replay_alike_and_all_begin_with_the_start_table(given, name):
    first, again, other = (run(given, make(name, given, seed=s, workers=2), seed=s) for s in (1, 1, 2))
    assert signature(first) == signature(again)
    assert signature(first) != signature(other)
    began = sorted(first.ended, key=lambda e: e.trial_id)[: len(given.start)]
    fields = {"model_size", "learning_rate", "epochs", "batch_size"}
    assert [e.config.model_dump(include=fields) for e in began] == [c.model_dump(include=fields) for c in given.start]


def test_random_draws_recorded_configurations_without_replacement(given):
    history = run(given, make("random", given, seed=0, workers=2), units=30)
    keys = [e.config for e in history.ended]
    assert len(set(keys)) == len(keys)
    assert not any(e.interpolated for e in history.ended)


def test_stock_ray_completes_stopped_trials_with_their_partial_score(given):
    method = StockRay(given, seed=0)
    history = run(given, method, units=15)
    stopped = {e.trial_id: e for e in history.ended if e.reason}
    assert len(stopped) >= 5
    told = {trial.number: trial for trial in method.searcher._ot_study.trials}
    # The linear model took t000 and is not of the searcher's space.
    for trial_id, end in stopped.items():
        trial = told[int(trial_id[1:]) - 1]
        assert trial.state is optuna.trial.TrialState.COMPLETE
        assert trial.values == pytest.approx([end.f1, given.known_cost(end.config)])
        assert end.f1 != end.full_f1


def test_the_products_own_dispatcher_and_ledger_are_what_is_replayed(given):
    method = Product(given, "random", seed=0)
    history = run(given, method)
    records = {record.trial_id: record for record in method.dispatcher.ledger.records()}
    assert set(records) == {end.trial_id for end in history.ended}
    for end in history.ended:
        record = records[end.trial_id]
        assert record.status is TrialStatus.DONE
        assert record.training_usd == pytest.approx(end.usd)
        assert record.variants[0].f1 == pytest.approx(end.f1)
        assert record.variants[0].usd_per_million_predictions == given.known_cost(end.config)
        assert len(record.curve) == (1 if end.config.model_size == "tfidf" else 6)
    assert len(method.suggestion_s) >= len(records) - len(given.start)


def test_a_stop_rule_of_the_product_stops_a_trial_and_its_record_says_so(given):
    asked = []

    def rule(standing):
        asked.append(standing)
        point = standing.curve[-1]
        return "poor" if standing.trial.number % 3 == 2 and point.fraction >= 0.4 else ""

    method = Product(given, "random", seed=0, rule=rule)
    history = run(given, method)
    stopped = [end for end in history.ended if end.reason]
    assert len(stopped) >= 3
    for end in stopped:
        record = method.dispatcher.ledger.get(end.trial_id)
        assert (record.status, record.reason) == (TrialStatus.STOPPED, "poor")
        assert record.variants == []
        assert [round(point.fraction, 1) for point in record.curve] == [0.0, 0.2, 0.4]
        full = given.table.curve(end.config, end.seed)
        assert record.training_usd == pytest.approx(full.usd[2])
        assert record.usage.core_s == pytest.approx(full.train_s[2])
        assert method.dispatcher.ledger.storage.folders(f"trials/{end.trial_id}") == []
    assert any(standing.live for standing in asked)
    assert all(standing.trial.trial_id not in standing.live for standing in asked)


def test_a_ledger_in_memory_is_read_back(given):
    method = Product(given, "random", seed=0)
    run(given, method, units=5)
    storage = method.dispatcher.ledger.storage
    assert isinstance(storage, MemoryStorage)
    assert Ledger(storage).records() == method.dispatcher.ledger.records()


@pytest.mark.skipif(not find_python(), reason="SYNE_TUNE_PYTHON names no Python with syne-tune")
def test_syne_tunes_own_scheduler_stops_trials(given):
    first, again = (run(given, make("syne_mo_asha", given, seed=1, workers=2), seed=1) for _ in range(2))
    assert signature(first) == signature(again)
    assert any(end.reason for end in first.ended)


def test_what_cannot_run_says_why():
    assert is_available("known_cost+wishes")
    assert is_available("nosuch")
    assert is_available("known_cost@eta")
    assert not is_available("known_cost@eta=0.5+dominance")
    assert not is_available("tpe")


def test_kept_outcomes_are_found_by_table_method_and_seed(tmp_path):
    job = Job("sim:1", "random", 0, 2, 1.0)
    found = run_job(job)
    kept = OutcomeCache(tmp_path / "curves.jsonl")
    kept.add(job, found)
    again = OutcomeCache(tmp_path / "curves.jsonl").find(job)
    assert again is not None
    assert again[0] == found
    assert OutcomeCache(tmp_path / "curves.jsonl").find(Job("sim:2", "random", 0, 2, 1.0)) is None


def command(*options):
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    return subprocess.run(
        [sys.executable, str(REPO / "benchmarks" / "replay.py"), *options],
        capture_output=True, text=True, env=environment, timeout=280,
    )  # fmt: skip


def test_an_unknown_task_is_bad_input(tmp_path):
    done = command("--tables", str(tmp_path), "--tune-on", "nosuch")
    assert done.returncode == 2
    assert "no recorded task nosuch" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two synthetic tasks on disk, as recorded ones are."""
    folder = tmp_path_factory.mktemp("tables")
    for number in (0, 1):
        (folder / f"task{number}").mkdir()
        for name, rows in zip(("runs", "points", "serve"), synthetic_rows(number), strict=True):
            pq.write_table(pa.Table.from_pylist(rows), folder / f"task{number}" / f"{name}.parquet")
    return folder


@pytest.mark.timeout(600)
def test_the_last_line_reports_the_tasks_that_nothing_was_chosen_on(tables, tmp_path):
    done = command(
        "--tables", str(tables), "--tune-on", "task0", "--seeds", "1", "--curves", str(tmp_path / "curves.jsonl"),
        "--methods", "random,ray_optuna_asha,random+dominance_library,tpe+never",
        "--results", str(tmp_path / "r.jsonl"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["tasks"] == ["task1"]
    assert set(row["tables"]) == {"task0", "task1"}
    assert row["tables"]["task1"] == simulate(1).digest
    assert set(row["regret"]) == {"random", "ray_optuna_asha", "random+dominance_library", "tpe+never"}
    assert row["method"] in {"random+dominance_library", "tpe+never"}
    assert row["spend_ratio_vs_ray_default"] > 0
    assert row["best_peer"] == "random"
    assert 2 < row["start_table_units"]["task1"] < 6
    assert row["best_sizes"][0]["predicted"] == row["best_sizes"][1]["best"]
    assert json.loads((tmp_path / "r.jsonl").read_text())["tables"] == row["tables"]
    kept = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert len(kept) == 2 * 4


@pytest.mark.timeout(600)
def test_quick_takes_slow_methods_from_the_kept_run_says_so_and_leaves_it_as_it_is(tables, tmp_path):
    curves = tmp_path / "curves.jsonl"
    kept = OutcomeCache(curves)
    for number in (0, 1):
        for method in ("random", "ray_optuna_asha", "gp", "tpe+never"):
            job = Job(str(tables / f"task{number}"), method, 0, 2, 1.2)
            one = run_job(Job(job.source, "one_epoch_top_k", 0, 2, 1.2))
            kept.add(job, replace(one, method=method))
    before = curves.read_text()
    options = ["--tables", str(tables), "--seeds", "1", "--quick", "--curves", str(curves), "--resume"]
    done = command(*options, "--methods", "random,ray_optuna_asha,gp,tpe+never", "--results", str(tmp_path / "r.jsonl"))
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert list(row["curves_from_earlier_runs"]["gp"]) == [json.loads(before.splitlines()[0])["date"][:10]]
    assert row["best_peer"] in {"random", "gp"}
    assert row["spend_ratio_vs_ray_default"] == 1.0
    assert curves.read_text() == before
