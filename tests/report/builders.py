"""A small study with every kind of trial, for the report."""

from lft_ray.config import Experiment
from lft_ray.cost.dollars import price_variants
from lft_ray.cost.prices import price_of
from lft_ray.records import (
    CurvePoint,
    DatasetRecord,
    IngressProfile,
    Problem,
    ProfileBook,
    ScoredVariant,
    ServingProfile,
    SplitRecord,
    TrialConfig,
    TrialRecord,
    TrialStatus,
    Usage,
)
from lft_ray.records.panels import confusion_panel, label_panel
from lft_ray.selection.decide import decide

SIZES = {"tfidf": (0.00005, 0.88), "minilm:3": (0.0015, 0.912), "minilm:6": (0.003, 0.915)}
HOSTILE = "</script><script>alert(1)</script>"


def experiment():
    return Experiment.model_validate(
        {"name": "news", "data": {"train": "news.csv"}, "models": [{"base": "tfidf"}], "search": {"budget_usd": 2}}
    )


def dataset(labels=("World", HOSTILE)):
    def split(name, rows):
        return SplitRecord(
            name=name, uri=f"data/{name}.arrow", rows=rows, label_counts=dict.fromkeys(labels, rows // 2)
        )

    return DatasetRecord(
        fingerprint="f" * 64,
        source_files={"news.csv": "ab" * 32},
        task_kind="classification",
        text_column="text",
        label_column="label",
        labels=list(labels),
        splits={"train": split("train", 800), "validation": split("validation", 100), "test": split("test", 100)},
        words_quantiles={"p50": 30, "p95": 50, "p99": 70, "max": 90},
        carved={"test": 0.1},
        problems=[
            Problem(severity="warning", code="duplicate_text", message=f"twice: {HOSTILE}", file="news.csv", row=7)
        ],
    )


def profiles():
    def one(size, core_s):
        return ServingProfile(
            model_size=size, precision="fp32", max_length=128, engine="torch", device="cpu", machine="m", threads=1,
            core_s_per_text=core_s, texts_per_s=500, p50_ms=3, p95_ms=6, p99_ms=9, load_requests_per_s=50,
            peak_bytes=400_000_000, repeats=3, spread=0.02, texts_measured=100,
        )  # fmt: skip

    ingress = IngressProfile(machine="m", core_s_per_request=0.0003, requests_measured=1000, repeats=3, spread=0.02)
    return ProfileBook(ingress=ingress, profiles=[one(size, core_s) for size, (core_s, _) in SIZES.items()])


def record(trial_id, size, *, f1=None, status="done", reason="", confirms="", curve=None):
    linear = size == "tfidf"
    variants = [ScoredVariant(precision="fp32", max_length=128, f1=f1 or SIZES[size][1])] if status == "done" else []
    return TrialRecord(
        trial_id=trial_id,
        attempt=0,
        config=TrialConfig(
            model_size=size,
            learning_rate=None if linear else 3e-5,
            batch_size=None if linear else 16,
            epochs=None if linear else 2,
        ),
        status=TrialStatus(status),
        reason=reason,
        curve=curve or [],
        usage=Usage(core_s=60, wall_s=65) if status != "infeasible" else Usage(),
        variants=price_variants(variants, size, profiles(), price_of(experiment().cost), utilisation=0.6),
        training_usd=0.001,
        role="confirm" if confirms else "search",
        confirms=confirms,
    )


def records():
    curve = [
        CurvePoint(fraction=f, f1=s, loss=loss, train_s=10 * f)
        for f, s, loss in ((0, 0.3, 1.1), (0.5, 0.8, 0.6), (1, 0.912, 0.4))
    ]
    broken = [curve[0], curve[1].model_copy(update={"loss": float("nan")})]
    return [
        record("t1", "tfidf"),
        record("t2", "minilm:3", curve=curve),
        record("t3", "minilm:6", curve=curve),
        record("t4", "minilm:6", status="stopped", reason="deadline", curve=curve[:2]),
        record("t5", "minilm:3", status="infeasible", reason=f"loss is not finite {HOSTILE}", curve=broken),
        record("t6", "minilm:6", status="failed", reason="out of memory"),
        record("c1", "minilm:3", f1=0.911, confirms="t2"),
        record("c2", "minilm:6", f1=0.914, confirms="t3"),
    ]


def panels():
    labels = dataset().labels
    return [
        label_panel([(label, 0.9, 0.91, 0.905, 50) for label in labels]),
        confusion_panel(labels, [[46, 4], [5, 45]]),
    ]


def selection():
    choice = decide(records(), experiment().selection, experiment().cost)
    return choice.model_copy(
        update={
            "test_f1": 0.9071,
            "test_rows": 100,
            "test_metrics": {"macro_f1": 0.9071, "accuracy": 0.91},
            "panels": panels(),
        }
    )


def with_variants():
    """The same study when networks are offered at 32 tokens, too: -0.4 points at half the price."""

    def short(item):
        if item.config.model_size == "tfidf" or not item.variants:
            return item
        (whole,) = item.variants
        cut = whole.model_copy(
            update={
                "max_length": 32,
                "f1": whole.f1 - 0.004,
                "usd_per_million_predictions": whole.usd_per_million_predictions / 2,
            }
        )
        return item.model_copy(update={"variants": [whole, cut]})

    return [short(item) for item in records()]
