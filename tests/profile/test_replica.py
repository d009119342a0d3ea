"""Model folders of the profiled replica; the replica itself is covered by the cluster test of `test_measure.py`."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from lft_ray.engines import onnx_build
from lft_ray.profile.replica import IDLE, IdleModel, build_request_folder, open_request
from lft_ray.profile.requests import profile_requests
from lft_ray.serve.api.app import LIMITS
from lft_ray.serve.model.base import ReplicaThreads
from tests.handed_down import candidates


def test_build_request_folder_falls_back_to_torch_or_refuses(experiment, dataset, monkeypatch):
    requests = {
        r.precision: r for r in profile_requests(candidates(experiment, dataset), dataset) if r.size.layers == 1
    }
    good = build_request_folder(requests["int8"])
    assert (good.engine, good.note, good.refused) == ("onnxruntime", "", "")
    shutil.rmtree(good.folder)
    monkeypatch.setattr(onnx_build, "OPSET", 999)
    exact, rounded = build_request_folder(requests["fp32"]), build_request_folder(requests["int8"])
    assert (exact.engine, exact.refused) == ("torch", "")
    assert exact.note.startswith("bert cannot be exported to ONNX")
    assert (rounded.folder, rounded.refused) == ("", exact.note)
    predictor = open_request(requests["fp32"], exact, ReplicaThreads(2, "latency"), limits=LIMITS)
    assert predictor.info.engine == "torch"
    asyncio.run(predictor.retire())
    shutil.rmtree(exact.folder)


def test_build_request_folder_writes_only_below_its_parent(experiment, dataset, tmp_path, monkeypatch):
    request = next(r for r in profile_requests(candidates(experiment, dataset), dataset) if r.size.layers == 1)
    # Nothing may be written elsewhere: an interrupt kills the builder, and only that folder is deleted after it.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    made = build_request_folder(request, tmp_path)
    assert [path.name for path in Path(made.folder).iterdir()] == ["served"]
    assert Path(made.folder).parent == tmp_path


def test_build_request_folder_writes_the_fitted_files_of_tfidf(experiment, dataset, tmp_path):
    request = next(r for r in profile_requests(candidates(experiment, dataset), dataset) if r.size.is_linear)
    prepared = build_request_folder(request, tmp_path)
    assert (prepared.engine, prepared.refused) == ("sklearn", "")
    assert {path.name: path.read_bytes() for path in Path(prepared.folder).iterdir()} == dict(request.files)


def test_idle_model_returns_one_constant_label_per_text():
    assert IdleModel(LIMITS, 2).info.segments == 2
    model = IdleModel(LIMITS)
    predictions = asyncio.run(model.predict(["a", "b"], top_k=None, function=None))
    assert [[score.label for score in scores] for scores in predictions] == [[IDLE], [IDLE]]
    assert [(result.bucket, result.latency_ms) for result in model.run_samples(["a", "b"])] == [(IDLE, 0.0)] * 2


def test_idle_model_answers_questions_where_the_task_does():
    model = IdleModel(LIMITS, 2, "spans")
    assert (model.info.answers, model.info.segments) == ("spans", 2)
    predictions = asyncio.run(model.predict([("a", "b")] * 2, top_k=None, function=None))
    assert [answers[0].answer for answers in predictions] == [IDLE, IDLE]
