import importlib
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """A script, imported as it is run: beside its own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def test_training_ratios_are_paired_by_round(script):
    throughput, contenders = script("train_throughput"), script("contenders")
    base = contenders.Measured(10.0, 500.0, 0.1, 100.0, 5.0, 0.8, 900.0)
    peak = replace(base, samples_per_s=200.0, gflop_per_s=400.0)
    found = {
        "peak": [peak, replace(peak, gflop_per_s=200.0)],
        "naive": [replace(base, samples_per_s=2.0, gflop_per_s=20.0)] * 2,
        "hf_default": [replace(base, samples_per_s=5.0)] * 2,
        "hf_best_sdpa": [replace(base, samples_per_s=8.0), replace(base, samples_per_s=2.0)],
        "hf_best_eager": [replace(base, samples_per_s=4.0), replace(base, samples_per_s=4.0)],
        # The machine was half as fast in the second round, for all of them.
        "ours": [replace(base, samples_per_s=20.0, gflop_per_s=200.0), replace(base, gflop_per_s=100.0)],
        "ours_pair": [replace(base, samples_per_s=30.0, f1=None)] * 2,
    }
    job = contenders.Job("", "", 96, 32, 1, 32, 1e-4, 0, 2, "minilm:1", "")
    row = throughput.row_of(found, job, quick=True)
    assert row["vs_naive_loop"] == 7.5
    assert row["vs_hf_default"] == 3.0
    assert row["vs_hf_best"] == 2.5, "each round against the better of the two: 20/8 and 10/4"
    assert row["matmul_share"] == 0.5
    assert row["pair_vs_single"] == 2.0
    text = throughput.table(found)
    assert "| naive | 2.0 | 500 | 10% | 10% |" in text, "against the peak in fp32"
    assert "| ours | 15.0 | 500 | 10% | 50% | 5.0 | 0.800 (0.800-0.800) | 900 |" in text
    assert "| ours_pair | 30.0 | 500 | 10% | 38% | 5.0 | - |" in text


def test_serving_ratios_are_against_the_best_of_each_kind(script):
    serving = script("serving")

    def at(*rates: float):
        loops = [{32: {"requests_per_s": r, "p50_ms": 1.0, "p99_ms": 2.0, "failed": 0}} for r in rates]
        return [serving.Measured(1.0, 100.0, loop, {}) for loop in loops]

    found = {"fastapi_pipeline": at(40), "litserve": at(50, 70), "bentoml": at(80), "bound": at(400), "ours": at(360)}
    row = serving.row_of(found, ["infinity"], quick=True)
    assert row["vs_fastapi_pipeline"] == 9.0
    assert row["vs_best_peer"] == 4.5
    assert row["share_of_ceiling"] == 0.9
    assert row["vs_ray_serve_example"] is row["vs_best_peer_same_engine"] is None
    assert row["left_out"] == ["infinity"]
    assert "| litserve | 60, 1.0 / 2 | 1.0 | 100 |" in serving.table(found)
    assert serving.open_table(found) == ""
