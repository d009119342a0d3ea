"""A whole study on tiny real data: real training in real Ray workers, twice with a resume between."""

import csv
from pathlib import Path

import pytest

from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.errors import ConfigError, InputError
from lft_ray.export.stage import export_trial
from lft_ray.ledger import Ledger
from lft_ray.models.base import model_sizes
from lft_ray.records import (
    DatasetRecord,
    FrontPoint,
    IngressProfile,
    ProfileBook,
    ServingProfile,
    TrialConfig,
    TrialRecord,
    TrialStatus,
)
from lft_ray.search.pricing import Pricing
from lft_ray.search.study import StudyJob, _busy_s, _teaching_flops, allowed_sizes, run_study
from lft_ray.selection.front import points_of
from lft_ray.storage import Storage
from tests.tiny_models import SENTENCES, write_tiny_bert

TOPICS = {"sport": ["match", "coach", "goal"], "money": ["bank", "market", "stocks"]}


def write_rows(path: Path, count: int = 240) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for number in range(count):
            topic = list(TOPICS)[number % 2]
            word = TOPICS[topic][number % 3]
            writer.writerow([f"{word} {SENTENCES[number % 12][: 20 + number % 17]} {number}", topic])


def profile(size: str, core_s: float, p95_ms: float) -> ServingProfile:
    return ServingProfile(
        model_size=size,
        precision="fp32",
        max_length=32,
        engine="torch",
        device="cpu",
        machine="m",
        threads=1,
        core_s_per_text=core_s,
        texts_per_s=1 / core_s,
        p50_ms=p95_ms / 2,
        p95_ms=p95_ms,
        p99_ms=p95_ms * 2,
        load_requests_per_s=10,
        peak_bytes=1,
        repeats=3,
        spread=0.0,
        texts_measured=10,
    )


def book(base: Path) -> ProfileBook:
    rows = [profile("tfidf", 1e-4, 2.0), profile(f"{base}:1", 1e-3, 5.0), profile(f"{base}:2", 2e-3, 9.0)]
    ingress = IngressProfile(machine="m", core_s_per_request=5e-4, requests_measured=10, repeats=3, spread=0.0)
    return ProfileBook(ingress=ingress, profiles=rows)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def experiment(base, tmp_path_factory) -> Experiment:
    folder = tmp_path_factory.mktemp("study")
    write_rows(folder / "rows.csv")
    return Experiment.model_validate(
        {
            "name": "tiny",
            "data": {"train": str(folder / "rows.csv")},
            "models": [{"base": "tfidf"}, {"base": str(base), "layers": [1, 2]}],
            "training": {"max_length": 32, "batch_size": 16, "epochs": [1, 2], "evaluations": 1},
            "search": {"trials": 5, "sampler": "tpe"},
            "storage": str(folder / "runs"),
        }
    )


@pytest.fixture(scope="module")
def dataset(experiment) -> DatasetRecord:
    return prepare(experiment.task, experiment.data, Storage(experiment.run_uri))


@pytest.fixture(scope="module")
def job(experiment, dataset, base) -> StudyJob:
    return StudyJob(experiment.run_uri, experiment, dataset, book(base))


def changed(job: StudyJob, **parts) -> StudyJob:
    tree = job.experiment.model_dump(mode="json")
    for name, values in parts.items():
        tree[name] = tree[name] | values if isinstance(values, dict) else values
    spec = Experiment.model_validate(tree)
    return StudyJob(spec.run_uri, spec, job.dataset, job.profiles)


def test_sizes_over_a_cap_are_not_trained(job, base):
    def allowed(**parts) -> list[str]:
        spec = changed(job, **parts).experiment
        return [s.name for s in allowed_sizes(spec, Pricing.of(spec, job.profiles))]

    assert allowed() == ["tfidf", f"{base}:1", f"{base}:2"]
    assert allowed(cost={"traffic": {"p95_ms": 6}}) == ["tfidf", f"{base}:1"]
    pricing = Pricing.of(job.experiment, job.profiles)
    assert allowed(selection={"max_usd_per_million": pricing.cost(f"{base}:1") * 1.01}) == ["tfidf", f"{base}:1"]
    with pytest.raises(ConfigError, match=r"no model size may be trained under the caps.*tfidf \$"):
        allowed(cost={"traffic": {"p95_ms": 1}})


def test_a_size_without_a_profile_is_named(job):
    spec = job.experiment
    few = job.profiles.model_copy(update={"profiles": job.profiles.profiles[:1]})
    with pytest.raises(InputError, match=r"no serving profile of .*:1"):
        allowed_sizes(spec, Pricing.of(spec, few))


def test_the_job_of_finalists_is_a_confirmation(job):
    points = [
        FrontPoint(trial_id=i, model_size="x", precision=p, max_length=32, f1=0.5, usd_per_million_predictions=1.0)
        for i, p in (("t001", "fp32"), ("t001", "bf16"), ("t000", "fp32"))
    ]
    assert job.role == "search"
    assert job.confirming(points).role == "confirm"
    assert job.confirming(points).finalists == ("t001", "t000")


def test_minutes_between_a_crash_and_a_resume_do_not_count(tmp_path):
    ledger = Ledger(Storage(tmp_path))
    spans = [("10:00:00", "10:02:00"), ("10:01:00", "10:03:00"), ("10:01:30", "10:02:30"), ("18:00:00", "18:01:00")]
    for number, (begun, ended) in enumerate(spans):
        ledger.put(
            TrialRecord(
                trial_id=f"t{number:03d}",
                attempt=1,
                config=TrialConfig(model_size="tfidf"),
                status="done",
                started_at=f"2026-11-23T{begun}+00:00",
                finished_at=f"2026-11-23T{ended}+00:00",
            )
        )
    assert _busy_s(ledger) == 4 * 60


def test_the_first_student_of_a_teacher_is_budgeted_for_the_teachers_pass(tmp_path, job, base):
    ledger = Ledger(Storage(tmp_path))
    sizes = {size.name: size for size in model_sizes(job.experiment.models)}
    student = TrialConfig(model_size=f"{base}:1", method="distil", teacher="t000")

    def put(trial_id: str, config: TrialConfig, status: str = "done") -> None:
        ledger.put(TrialRecord(trial_id=trial_id, attempt=1, config=config, status=status))

    assert _teaching_flops(student, ledger, sizes, 1e3) == 0.0
    put("t000", TrialConfig(model_size=f"{base}:2"))
    assert _teaching_flops(student, ledger, sizes, 1e3) == sizes[f"{base}:2"].flops_per_token * 1e3
    assert _teaching_flops(student.model_copy(update={"teacher": ""}), ledger, sizes, 1e3) == 0.0
    put("t001", student, status="failed")
    assert _teaching_flops(student, ledger, sizes, 1e3) > 0.0
    put("t002", student)
    assert _teaching_flops(student, ledger, sizes, 1e3) == 0.0


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_a_study_trains_prices_and_confirms(job, cluster, base):
    records = run_study(job, cluster)
    assert [r.status for r in records] == [TrialStatus.DONE] * 5, [r.reason for r in records]
    assert [r.config.model_size for r in records[:3]] == ["tfidf", f"{base}:1", f"{base}:2"]
    assert [r.start for r in records] == [True, True, True, False, False]
    cost = {s.name: Pricing.of(job.experiment, job.profiles).cost(s.name) for s in model_sizes(job.experiment.models)}
    for record in records:
        assert record.training_usd > 0
        assert record.variants[0].usd_per_million_predictions == pytest.approx(cost[record.config.model_size])
        assert record.variants[0].f1 > 0.3
        assert Storage(record.checkpoint_uri).exists()
        assert record.overhead_s >= 0
    assert run_study(job, cluster) == records

    finalist = FrontPoint(
        trial_id="t001", model_size="x", precision="fp32", max_length=32, f1=0.9, usd_per_million_predictions=1.0
    )
    # 0.3 of 5 trials: two fresh seeds.
    both = run_study(job.confirming([finalist]), cluster)
    fresh = [r for r in both if r.role == "confirm"]
    assert [(r.trial_id, r.confirms, r.config.seed) for r in fresh] == [("c000", "t001", 1), ("c001", "t001", 2)]
    assert [r for r in both if r.role == "search"] == records
    assert {r.config.model_copy(update={"seed": 0}) for r in fresh} == {records[1].config}


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_a_distilled_trial_is_a_point_like_any_other_and_keeps_its_teacher(job, cluster, base):
    taught = changed(
        job,
        name="taught",
        search={"trials": 6, "sampler": "random", "concurrency": 1},
        training={"method": ["full", "distil"], "learning_rate": 1e-3, "epochs": 1},
        selection={"confirm_share": 0.1},
    )
    records = run_study(taught, cluster)
    assert [r.status for r in records] == [TrialStatus.DONE] * len(records), [r.reason for r in records]
    # Two sizes, two methods: the larger has nobody to learn from, so one configuration is left to propose.
    assert [(r.config.model_size, r.config.method, r.config.teacher) for r in records] == [
        ("tfidf", "full", ""),
        (f"{base}:1", "full", ""),
        (f"{base}:2", "full", ""),
        (f"{base}:1", "distil", "t002"),
    ]
    assert records[3].variants[0].usd_per_million_predictions == records[1].variants[0].usd_per_million_predictions
    assert "t003" in {point.trial_id for point in points_of(records)}

    finalist = FrontPoint(
        trial_id="t003", model_size="x", precision="fp32", max_length=32, f1=0.9, usd_per_million_predictions=1.0
    )
    fresh = [r for r in run_study(taught.confirming([finalist]), cluster) if r.role == "confirm"]
    assert {(r.config.method, r.config.teacher, r.status) for r in fresh} == {("distil", "t002", TrialStatus.DONE)}

    chosen = export_trial(
        records[3],
        experiment=taught.experiment,
        dataset=job.dataset,
        selection=None,
        target=Storage(taught.run_uri),
    )
    card = (Path(chosen.uri) / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"| Trained | distilled from {base.name}:2 (t002) at weight 0.7, temperature 2 |" in card


@pytest.mark.cluster
def test_a_budget_below_the_cheapest_trial_is_refused_with_its_price(job, cluster):
    poor = changed(job, search={"budget_usd": 1e-9, "trials": 3}, name="poor")
    with pytest.raises(ConfigError, match=r"no trial could start: tfidf: its worst case of \$.* does not fit"):
        run_study(poor, cluster)
    assert Ledger(Storage(poor.run_uri)).started() == []


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_at_the_deadline_running_trials_are_stopped(job, cluster):
    late = changed(
        job,
        name="late",
        search={"minutes": 0.15, "trials": 4},
        selection={"confirm_share": 0.0},
        training={"epochs": 5000, "learning_rate": 1e-4},
        models=[job.experiment.models[1].model_dump(mode="json")],
    )
    records = run_study(late, cluster)
    assert records
    assert {r.status for r in records} == {TrialStatus.STOPPED}
    assert all(r.variants == [] for r in records)
