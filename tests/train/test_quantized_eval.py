"""int8 variants of a trial are scored through the graph that would serve them, at every length."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from lft_ray.data.store import load_split
from lft_ray.engines import onnx_build
from lft_ray.engines.batching import run_sorted
from lft_ray.engines.build import build_folder, serving_engine
from lft_ray.errors import BundleError
from lft_ray.records import TrialStatus
from lft_ray.run.storage import Storage
from lft_ray.train.trial import run_trial


def logits_of(variant) -> np.ndarray:
    return np.array(pq.read_table(variant.predictions_uri)["logits"].to_pylist())


def test_int8_scores_equal_those_of_the_serving_engine(trial_job, tmp_path):
    job = trial_job(precisions=["fp32", "int8"], max_lengths=[8])
    result = run_trial(job, lambda _: None)
    assert result.status is TrialStatus.DONE, result.reason
    assert [(v.max_length, v.precision) for v in result.variants] == [
        (32, "fp32"),
        (32, "int8"),
        (8, "fp32"),
        (8, "int8"),
    ]
    texts = load_split(job.dataset, "validation").texts
    for found in result.variants:
        built = build_folder(
            Storage(result.checkpoint_uri).local_folder(""),
            tmp_path / f"{found.precision}-{found.max_length}",
            precision=found.precision,
            max_length=found.max_length,
        )
        assert built.card.engine == "onnxruntime"
        np.testing.assert_allclose(run_sorted(built.open(threads=1), texts), logits_of(found), atol=1e-4)
    exact, rounded = logits_of(result.variants[0]), logits_of(result.variants[1])
    assert 0 < np.abs(exact - rounded).max() < 0.2 * np.abs(exact).max()
    assert np.abs(rounded - logits_of(result.variants[3])).max() > 0.1
    assert result.usage.eval_s > 0


def test_a_network_that_cannot_be_exported_has_no_int8_variant(trial_job, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_build, "OPSET", 999)
    result = run_trial(trial_job(precisions=["fp32", "int8"]), lambda _: None)
    assert result.status is TrialStatus.DONE, result.reason
    assert [v.precision for v in result.variants] == ["fp32"]

    source = Storage(result.checkpoint_uri).local_folder("")
    built = build_folder(source, tmp_path / "fp32", precision="fp32")
    assert (built.card.engine, built.precision) == ("torch", "fp32")
    assert built.note.startswith("bert cannot be exported to ONNX")
    assert built.open(threads=1).max_length == 32
    with pytest.raises(onnx_build.NotExportableError):
        build_folder(source, tmp_path / "int8", precision="int8")
    assert not (tmp_path / "int8").exists()


def test_serving_engine_of_each_precision():
    assert [serving_engine("torch", p) for p in ("fp32", "int8", "bf16")] == ["onnxruntime", "onnxruntime", "torch"]
    assert {serving_engine("torch", p, device="cuda") for p in ("fp32", "bf16")} == {"torch"}
    assert serving_engine("sklearn", "fp32") == "sklearn"


def test_a_linear_model_has_one_precision(trial_job, tmp_path):
    config = {"model_size": "tfidf", "learning_rate": None, "batch_size": None, "epochs": None}
    result = run_trial(trial_job(config=config, precisions=["fp32", "int8"]), lambda _: None)
    assert [v.precision for v in result.variants] == ["fp32"]
    source = Storage(result.checkpoint_uri).local_folder("")
    assert build_folder(source, tmp_path / "fp32", precision="fp32").card.engine == "sklearn"
    with pytest.raises(BundleError, match="sklearn has no precision 'int8'"):
        build_folder(source, tmp_path / "int8", precision="int8")
