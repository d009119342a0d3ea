"""A trial on questions: trained, scored as served at each precision and length, and read again by the selection."""

import json

import pytest

from lft_ray.candidates import TaskRecord
from lft_ray.config import DataSpec, ModelSpec, TaskSpec, TrainingSpec
from lft_ray.data.prepare import prepare
from lft_ray.data.store import load_split
from lft_ray.engines.batching import run_sorted
from lft_ray.engines.build import build_folder
from lft_ray.records import TrialConfig, TrialRecord, TrialStatus
from lft_ray.run.storage import Storage
from lft_ray.selection.evidence import Scorer
from lft_ray.selection.predictions import load_saved, read_outputs
from lft_ray.tasks.find import make_task
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial
from tests.tasks.questions.corpus import rows


@pytest.fixture(scope="module")
def job(tmp_path_factory, request):
    from tests.tiny_models import write_tiny_bert

    folder = tmp_path_factory.mktemp("questions")
    (folder / "base").mkdir()
    base = write_tiny_bert(folder / "base")
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows(240))))
    kind = "question_answering"
    dataset = prepare(TaskSpec(kind=kind), DataSpec(train=str(folder / "train.jsonl")), Storage(str(folder / "run")))

    def made(model_size="", **changes):
        name = model_size or f"{base}:2"
        models = [ModelSpec(base="overlap"), ModelSpec(base=str(base))]
        config = {"max_length": 48, "learning_rate": 2e-3, "batch_size": 16, "epochs": 6, "seed": 0}
        fields = {
            "trial_id": "t000",
            "config": TrialConfig(model_size=name, **({} if name == "overlap" else config)),
            "models": models,
            "task_kind": kind,
            "labels": [],
            "other_facts": dataset.other_facts,
            "metric": "f1",
            "dataset": dataset,
            "training": TaskRecord.of(kind, None, dataset.facts).usable(TrainingSpec(method=["full"])),
            "run_uri": str(folder / "run"),
        }
        return TrialJob(**(fields | changes))

    return made


def test_a_network_learns_and_its_variants_are_scored_as_served(job):
    given = job(precisions=["fp32", "int8", "bf16"], max_lengths=[32])
    result = run_trial(given, lambda _: None)
    assert result.status is TrialStatus.DONE, result.reason
    assert [(v.max_length, v.precision) for v in result.variants] == [
        (n, p) for n in (48, 32) for p in ("fp32", "int8", "bf16")
    ]
    assert result.variants[0].f1 == result.curve[-1].f1 > result.curve[0].f1
    assert result.curve[-1].train_loss < result.curve[0].train_loss
    validation = load_split(given.dataset, "validation")
    task = make_task(given.task_kind, given.facts)
    folder = Storage(result.checkpoint_uri).local_folder("")
    for number, variant in enumerate(result.variants[:2]):
        built = build_folder(folder, folder.parent / f"served-{number}", precision=variant.precision, max_length=48)
        served = run_sorted(built.open(threads=1), validation.texts)
        assert task.metrics(validation.targets, served)["f1"] == pytest.approx(variant.f1, abs=0.02)
        truth, saved = read_outputs(variant)
        assert task.metrics(truth, saved)["f1"] == pytest.approx(variant.f1, abs=1e-9)


def test_the_floor_is_a_trial_too_and_selection_weighs_both(job):
    records = []
    for number, size in enumerate(("overlap", "")):
        given = job(size, trial_id=f"t{number:03d}")
        result = run_trial(given, lambda _: None)
        assert result.status is TrialStatus.DONE, result.reason
        records.append(TrialRecord(**result.model_dump()))
    assert records[0].variants[0].f1 > 0.8
    scorer = Scorer(make_task(given.task_kind, given.facts), "f1")
    evidence = load_saved(records, scorer)
    keys = [(r.trial_id, v.precision, v.max_length) for r in records for v in r.variants]
    assert evidence.reproduces(keys, [v.f1 for r in records for v in r.variants])
    for (low, high), f1 in zip(evidence.intervals(keys), evidence.scores(keys), strict=True):
        assert 0 <= low <= f1 <= high <= 1
