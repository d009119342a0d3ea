"""A whole study on tiny real data: real training in real Ray workers, twice with a resume between."""

import csv
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytest

from lft_ray.cluster.connect import ClusterHandle
from lft_ray.config import Experiment
from lft_ray.cost.budget import Budget
from lft_ray.cost.caps import Caps
from lft_ray.cost.dollars import price_variants
from lft_ray.cost.forecast import Forecast, mean_tokens
from lft_ray.data.prepare import prepare
from lft_ray.errors import ConfigError, InputError
from lft_ray.export.build import export_trial
from lft_ray.models.sizes import ModelSize, model_sizes
from lft_ray.models.words import MAX_WORDS
from lft_ray.records import (
    DatasetRecord,
    FrontPoint,
    IngressProfile,
    ProfileBook,
    ScoredVariant,
    ServingProfile,
    TrialConfig,
    TrialRecord,
    TrialStatus,
    Usage,
)
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.budget.pricing import Pricing
from lft_ray.search.space import start_table
from lft_ray.search.study import (
    StudyJob,
    _admission,
    _busy_s,
    _proposer,
    _reseeded,
    _worker,
    _wrapped,
    allowed_sizes,
    run_study,
)
from lft_ray.selection.front import points_of
from tests import handed_down
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


def profile(
    size: str, core_s: float, p95_ms: float, *, precision: str = "fp32", max_length: int = 32
) -> ServingProfile:
    return ServingProfile(
        model_size=size,
        precision=precision,
        max_length=MAX_WORDS if size == "tfidf" else max_length,
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


@dataclass(frozen=True)
class Study:
    """An experiment, and the job that the pipeline would make of it."""

    experiment: Experiment
    dataset: DatasetRecord
    profiles: ProfileBook

    @cached_property
    def job(self) -> StudyJob:
        return handed_down.study(self.experiment, self.dataset, self.profiles)

    @property
    def pricing(self) -> Pricing:
        return self.job.pricing

    def allowed(self) -> list[ModelSize]:
        return allowed_sizes(self.job.candidates.sizes, self.pricing, self.job.specs.caps)


@pytest.fixture(scope="module")
def job(experiment, dataset, base) -> Study:
    return Study(experiment, dataset, book(base))


def changed(job: Study, **parts) -> Study:
    tree = job.experiment.model_dump(mode="json")
    for name, values in parts.items():
        tree[name] = tree[name] | values if isinstance(values, dict) else values
    return Study(Experiment.model_validate(tree), job.dataset, job.profiles)


def test_sizes_over_a_cap_are_not_trained(job, base):
    def allowed(**parts) -> list[str]:
        return [s.name for s in changed(job, **parts).allowed()]

    assert allowed() == ["tfidf", f"{base}:1", f"{base}:2"]
    assert allowed(cost={"traffic": {"p95_ms": 6}}) == ["tfidf", f"{base}:1"]
    pricing = job.pricing
    assert allowed(selection={"max_usd_per_million": pricing.cost(f"{base}:1") * 1.01}) == ["tfidf", f"{base}:1"]
    with pytest.raises(ConfigError, match=r"no model size meets the caps.*tfidf \$"):
        allowed(cost={"traffic": {"p95_ms": 1}})


def with_variants(job: Study, base: Path, **parts) -> Study:
    """The job with bf16 and 16 tokens offered as well; of the larger size 16 tokens were not profiled."""
    made = changed(job, export={"precisions": ["fp32", "bf16"], "max_lengths": [16]}, **parts)
    more = [
        profile(f"{base}:1", 0.9e-3, 4.5, precision="bf16"),
        profile(f"{base}:1", 0.5e-3, 2.5, max_length=16),
        profile(f"{base}:1", 0.4e-3, 2.4, precision="bf16", max_length=16),
        profile(f"{base}:2", 2.5e-3, 4.0, precision="bf16"),
    ]
    book = made.profiles.model_copy(update={"profiles": [*made.profiles.profiles, *more]})
    return Study(made.experiment, made.dataset, book)


def test_a_size_is_offered_at_what_was_profiled_of_it(job, base):
    made = with_variants(job, base)
    pricing = made.pricing
    small, large, linear = (
        [(v.precision, v.max_length) for v in pricing.offered(n)] for n in (f"{base}:1", f"{base}:2", "tfidf")
    )
    assert small == [("fp32", 32), ("bf16", 32), ("fp32", 16), ("bf16", 16)]
    assert large == [("fp32", 32), ("bf16", 32)]
    assert linear == [("fp32", MAX_WORDS)]
    # The search compares references; what a size can cost at least is that of its cheapest variant.
    plain = job.pricing
    assert pricing.reference_cost(f"{base}:1") == plain.cost(f"{base}:1") == plain.reference_cost(f"{base}:1")
    assert pricing.cost(f"{base}:1") == min(v.usd_per_million_predictions for v in pricing.offered(f"{base}:1"))
    assert pricing.cost(f"{base}:1") < plain.cost(f"{base}:1")


def test_a_linear_model_is_priced_when_networks_are_served_in_bf16_alone(job):
    assert changed(job, export={"precisions": ["bf16"]}, models=[{"base": "tfidf"}]).pricing.cost("tfidf") > 0


def test_a_size_is_trained_if_any_variant_meets_the_caps(job, base):
    made = with_variants(job, base, cost={"traffic": {"p95_ms": 4.2}})
    allowed = [s.name for s in made.allowed()]
    # Every reference but TF-IDF's is too slow: 5 and 9 ms.
    assert allowed == ["tfidf", f"{base}:1", f"{base}:2"]
    # Fast enough in bf16 only, cheap enough in fp32 only: no single variant is both.
    pricing = made.pricing
    assert not pricing.is_allowed(f"{base}:2", Caps(pricing.reference_cost(f"{base}:2"), 4.2))
    admitted = pricing.admitted(f"{base}:1", Caps(None, 4.2))
    assert [(v.precision, v.max_length) for v in admitted] == [("fp32", 16), ("bf16", 16)]


def test_the_forecast_counts_a_pass_for_each_variant(job, base):
    def work(made: Study, size: str) -> float:
        admission = _admission(made.job, ClusterHandle("", (), False))
        return admission.work(TrialConfig(model_size=size, epochs=1, max_length=32))

    made = with_variants(job, base, name="counted")
    by_name = {size.name: size for size in model_sizes(made.experiment.models)}
    per_token, rows = by_name[f"{base}:1"].flops_per_token, job.dataset.splits["validation"].rows
    extra = mean_tokens(job.dataset, 32) + 2 * mean_tokens(job.dataset, 16)
    assert work(made, f"{base}:1") - work(job, f"{base}:1") == pytest.approx(per_token * rows * extra)
    assert work(made, "tfidf") == work(job, "tfidf")


def test_a_worker_evaluates_what_was_profiled(job, base):
    made = with_variants(job, base)
    worker = _worker(made.job, made.pricing, None)
    assert worker.max_lengths == {"tfidf": (MAX_WORDS,), f"{base}:1": (32, 16), f"{base}:2": (32,)}
    assert worker.job.precisions == ["fp32", "bf16"]


def test_a_size_without_a_profile_is_named(job):
    few = job.profiles.model_copy(update={"profiles": job.profiles.profiles[:1]})
    with pytest.raises(InputError, match=r"no serving profile of .*:1"):
        replace(job, profiles=few).allowed()


def proposer_of(job: Study, **parts):
    job = changed(job, search={"sampler": "known_cost", **parts.pop("search", {})}, **parts)
    pricing = job.pricing
    admission = BudgetAdmission(
        Budget(),
        Forecast(),
        job.job.candidates.price,
        work=lambda config: 1e12 * (config.epochs or 1),
        device=lambda config: "cpu",
    )
    return _proposer(job.job, job.allowed(), pricing, admission), admission


def test_the_proposer_knows_every_variant_that_the_caps_admit(job, base):
    bf16 = [
        profile(f"{base}:{n}", core_s, 4.0).model_copy(update={"precision": "bf16"})
        for n, core_s in ((1, 5e-4), (2, 8e-4))
    ]
    profiles = job.profiles.model_copy(update={"profiles": [*job.profiles.profiles, *bf16]})
    job = replace(job, profiles=profiles)
    config = TrialConfig(model_size=f"{base}:2", max_length=32)

    def offers(**parts) -> list[tuple[str, int]]:
        proposer, _ = proposer_of(job, export={"precisions": ["fp32", "bf16"]}, **parts)
        return [(v.precision, v.max_length) for v in proposer.variants(config)]

    assert offers() == [("fp32", 32), ("bf16", 32)]
    assert offers(cost={"traffic": {"p95_ms": 6}}) == [("bf16", 32)]
    proposer, _ = proposer_of(job, export={"precisions": ["fp32", "bf16"]})
    fp32, bf16_usd = (v.usd_per_million_predictions for v in proposer.variants(config))
    # The reference variant stands for a trial, although the other is cheaper.
    assert proposer.known_cost(config) == fp32 > bf16_usd
    assert proposer.default_rate(config) == pytest.approx(3e-4, rel=1)


def test_where_order_decides_training_dollars_come_from_flops(job, base):
    config = TrialConfig(model_size=f"{base}:1", epochs=2)
    for minutes, moves in ((None, False), (5, True)):
        proposer, admission = proposer_of(job, search={"minutes": minutes})
        before = proposer.train_usd(config)
        usage = Usage(core_s=1e4, wall_s=1e4)
        admission.settle(TrialRecord(trial_id="t0", attempt=1, config=config, status="done", usage=usage))
        assert (proposer.train_usd(config) != before) == moves
        assert proposer.train_usd(config) > proposer.train_usd(config.model_copy(update={"epochs": 1}))
        assert proposer.propose(0, [], []) is not None


def test_the_job_of_finalists_is_a_confirmation(job):
    points = [
        FrontPoint(trial_id=i, model_size="x", precision=p, max_length=32, f1=0.5, usd_per_million_predictions=1.0)
        for i, p in (("t001", "fp32"), ("t001", "bf16"), ("t000", "fp32"))
    ]
    assert job.job.role == "search"
    assert job.job.confirming(points).role == "confirm"
    assert job.job.confirming(points).finalists == ("t001", "t000")
    linear = points[0].replace(trial_id="t005", model_size="tfidf")
    assert job.job.confirming([linear, *points]).finalists == ("t001", "t000"), "another seed trains the same model"


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


def test_the_first_student_of_a_teacher_is_budgeted_for_the_teachers_pass(job, base):
    taught = changed(job, name="budgeted", training={"method": ["full", "distill"]})
    ledger = taught.job.ledger
    admission = _admission(taught.job, ClusterHandle("", (), owned=False))
    workload = handed_down.workload(taught.experiment, taught.dataset)
    teachers_pass = workload.sizes[f"{base}:2"].flops_per_token * workload.train_tokens
    student = TrialConfig(model_size=f"{base}:1", method="distill", teacher="t000", epochs=1)
    other = student.model_copy(update={"learning_rate": 1e-4})
    full = workload.flops(student.model_copy(update={"method": "full", "teacher": ""}))

    def put(trial_id: str, config: TrialConfig, status: str = "done") -> None:
        role = "confirm" if trial_id.startswith("c") else "search"
        ledger.put(TrialRecord(trial_id=trial_id, attempt=1, config=config, status=status, role=role))

    put("t000", TrialConfig(model_size=f"{base}:2", epochs=1))
    assert admission.work(student) == full + teachers_pass
    put("t001", student, status="failed")
    assert admission.work(student) == full + teachers_pass
    put("t002", student)
    # The forecast learns that the first one made the pass; the next need not, nor does a fresh seed of the first.
    assert admission.work(student) == full + teachers_pass
    assert admission.work(other) == admission.work(_reseeded(student, 1)) == full
    put("c000", _reseeded(student, 1))
    put("t003", other)
    assert (admission.work(student), admission.work(other)) == (full + teachers_pass, full)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_study_trains_prices_and_confirms(job, cluster, base):
    records = run_study(job.job, cluster)
    assert [r.status for r in records] == [TrialStatus.DONE] * 5, [r.reason for r in records]
    assert [r.config.model_size for r in records[:3]] == ["tfidf", f"{base}:1", f"{base}:2"]
    assert [r.start for r in records] == [True, True, True, False, False]
    cost = {s.name: job.pricing.cost(s.name) for s in model_sizes(job.experiment.models)}
    for record in records:
        assert record.training_usd > 0
        assert record.variants[0].usd_per_million_predictions == pytest.approx(cost[record.config.model_size])
        assert record.variants[0].f1 > 0.3
        assert Storage(record.checkpoint_uri).exists()
        assert record.overhead_s >= 0
    assert run_study(job.job, cluster) == records

    finalist = FrontPoint(
        trial_id="t001", model_size="x", precision="fp32", max_length=32, f1=0.9, usd_per_million_predictions=1.0
    )
    # 0.3 of 5 trials: two fresh seeds.
    both = run_study(job.job.confirming([finalist]), cluster)
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
        training={"method": ["full", "distill"], "learning_rate": 1e-3, "epochs": 1},
        selection={"confirmation_fraction": 0.1},
    )
    records = run_study(taught.job, cluster)
    assert [r.status for r in records] == [TrialStatus.DONE] * len(records), [r.reason for r in records]
    # Two sizes, two methods: the larger has nobody to learn from, so one configuration is left to propose.
    assert [(r.config.model_size, r.config.method, r.config.teacher) for r in records] == [
        ("tfidf", "full", ""),
        (f"{base}:1", "full", ""),
        (f"{base}:2", "full", ""),
        (f"{base}:1", "distill", "t002"),
    ]
    assert records[3].variants[0].usd_per_million_predictions == records[1].variants[0].usd_per_million_predictions
    assert "t003" in {point.trial_id for point in points_of(records)}

    finalist = FrontPoint(
        trial_id="t003", model_size="x", precision="fp32", max_length=32, f1=0.9, usd_per_million_predictions=1.0
    )
    fresh = [r for r in run_study(taught.job.confirming([finalist]), cluster) if r.role == "confirm"]
    assert {(r.config.method, r.config.teacher, r.status) for r in fresh} == {("distill", "t002", TrialStatus.DONE)}

    target = Storage(taught.experiment.run_uri)
    export = handed_down.export_job(taught.experiment, job.dataset, None, target)
    chosen = export_trial(records[3], export, teacher=records[2])
    card = (Path(chosen.uri) / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"| Trained | distilled from {base.name}:2 (t002) at weight 0.7, temperature 2 |" in card


@pytest.mark.cluster
def test_a_budget_below_the_cheapest_trial_is_refused_with_its_price(job, cluster):
    poor = changed(job, search={"budget_usd": 1e-9, "trials": 3}, name="poor")
    with pytest.raises(
        ConfigError, match=r"no trial could start: tfidf: worst-case cost \$.* exceeds the remaining budget"
    ):
        run_study(poor.job, cluster)
    assert Ledger(Storage(poor.experiment.run_uri)).started() == []


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_at_the_deadline_running_trials_are_stopped(job, cluster):
    late = changed(
        job,
        name="late",
        search={"minutes": 0.15, "trials": 4},
        selection={"confirmation_fraction": 0.0},
        training={"epochs": 5000, "learning_rate": 1e-4},
        models=[job.experiment.models[1].model_dump(mode="json")],
    )
    records = run_study(late.job, cluster)
    assert records
    assert {r.status for r in records} == {TrialStatus.STOPPED}
    assert all(r.variants == [] for r in records)


def test_trials_do_not_depend_on_what_was_measured(job, base):
    """Two profilings of one architecture differ by tens of percent, and may swap two neighbours."""

    def told(study: Study) -> list[list[str]]:
        inner = study.job
        sizes = study.allowed()
        work = handed_down.workload(study.experiment, study.dataset)
        admission = handed_down.admission(study.experiment, work, started_s=0.0)
        proposer = _wrapped(inner, _proposer(inner, sizes, study.pricing, admission))
        starts = start_table(sizes, study.experiment.training)
        records = [
            TrialRecord(
                trial_id=f"t{n:03d}", attempt=1, config=config, status="done",
                variants=price_variants(
                    [ScoredVariant(precision="fp32", max_length=32, f1=0.7 + 0.05 * n)], config.model_size,
                    study.profiles, study.pricing.price, utilisation=0.6,
                ),
            )
            for n, config in enumerate(starts)
        ]  # fmt: skip
        proposals = [proposer.propose(3, records, []), proposer.propose(4, records, [])]
        return [[config.model_dump_json() for config in configs] for configs in (starts, proposals)]

    known = changed(job, search={"sampler": "known_cost", "trials": 5})
    swapped = book(base)
    swapped = swapped.replace(
        profiles=[
            profile("tfidf", 2e-4, 2.0),
            profile(f"{base}:1", 2.1e-3, 5.0),
            profile(f"{base}:2", 2e-3, 9.0),
        ]
    )
    assert told(known) == told(replace(known, profiles=swapped))
    # With a clock, dollars as measured decide.
    clocked = changed(known, search={"minutes": 5.0})
    assert clocked.job.nominal is None
    assert clocked.job.costs == clocked.pricing
