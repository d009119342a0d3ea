"""Does a teacher help? F1 of small students trained in full and distilled, same seeds, rates and epochs.

python benchmarks/distillation.py --train sst2/train.parquet --validation sst2/dev.parquet [--max-rows 2000] [--quick]

One teacher (MiniLM, 6 layers, 2 epochs) is trained by the product's own trial code, then every student size with every
seed both ways, in turns, each at its size's default learning rate. One core, fp32. Prints a table and, on the last
line, one JSON object.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from publishing import RESULTS, publish

from lft_ray.candidates import Candidates
from lft_ray.config import Experiment
from lft_ray.cost.dollars import training_usd
from lft_ray.cost.prices import price_of
from lft_ray.data.prepare import prepare
from lft_ray.models.sizes import find_size
from lft_ray.records import DatasetRecord, TrialConfig, TrialRecord, TrialResult, TrialStatus
from lft_ray.run.ledger import Ledger, StartedTrial, driver_lock
from lft_ray.run.storage import Storage
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

REPO = Path(__file__).resolve().parent.parent
TEACHER, STUDENTS = "minilm:6", ("minilm:1", "minilm:2")
METHODS = ("full", "distill")


class Bench:
    """Runs trials of one experiment into one ledger."""

    def __init__(self, experiment: Experiment, dataset: DatasetRecord, storage: Storage) -> None:
        self.experiment, self.dataset, self.ledger = experiment, dataset, Ledger(storage)

    def run(self, size: str, seed: int, teacher: str = "") -> TrialRecord:
        """Train one configuration to its end."""
        training = self.experiment.training
        config = TrialConfig(
            model_size=size,
            method="distill" if teacher else "full",
            teacher=teacher,
            learning_rate=find_size(self.experiment.models, size)[1].default_learning_rate,
            batch_size=32,
            epochs=2,
            max_length=training.max_length,
            seed=seed,
        )
        trial = StartedTrial(trial_id=self.ledger.next_id(), number=len(self.ledger.started()), config=config)
        self.ledger.start(trial)
        candidates = Candidates.of(self.experiment, self.dataset)
        job = TrialJob.of(candidates, self.dataset, training, self.ledger.storage.uri)
        job = job.replace(trial_id=trial.trial_id, config=config)
        result = run_trial(job, lambda point: None)
        if result.status is not TrialStatus.DONE:
            raise SystemExit(f"{config}: {result.reason}")
        usd = training_usd(result.usage, price_of(self.experiment.cost))
        record = TrialRecord(**{n: getattr(result, n) for n in TrialResult.model_fields}, training_usd=usd)
        self.ledger.put(record)
        what = f"{size:9} {config.method:7} seed {seed}"
        print(f"{what}  F1 {record.variants[0].f1:.4f}  {record.usage.core_s:6.1f} core-seconds", flush=True)
        return record


def measure(bench: Bench, seeds: int, students: tuple[str, ...]) -> dict[str, object]:
    """Train the teacher, then the students both ways. Returns the JSON row."""
    teacher = bench.run(TEACHER, 0)
    f1: dict[str, dict[str, list[float]]] = {size: {method: [] for method in METHODS} for size in students}
    core_s: dict[str, dict[str, list[float]]] = {size: {method: [] for method in METHODS} for size in students}
    for size in students:
        for seed in range(1, seeds + 1):
            for method in METHODS:
                record = bench.run(size, seed, teacher.trial_id if method == "distill" else "")
                f1[size][method].append(record.variants[0].f1)
                core_s[size][method].append(round(record.usage.core_s, 1))
    print(f"\nteacher {TEACHER} F1 {teacher.variants[0].f1:.4f}, {teacher.usage.core_s:.0f} core-seconds")
    gains = {}
    for size in students:
        full, distill = f1[size]["full"], f1[size]["distill"]
        differences = [d - f for f, d in zip(full, distill, strict=True)]
        gains[size] = round(100 * statistics.mean(differences), 2)
        print(
            f"{size:9} full {statistics.mean(full):.4f}  distill {statistics.mean(distill):.4f}  "
            f"gain {gains[size]:+.2f} points, by seed {[round(100 * d, 2) for d in differences]}"
        )
    rounded = {size: {m: [round(v, 4) for v in values] for m, values in by.items()} for size, by in f1.items()}
    return {"distil_minus_full_points": gains, "teacher_f1": round(teacher.variants[0].f1, 4), "f1": rounded,
            "core_s": core_s}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", default=str(REPO / "experiments" / "data" / "news.csv"))
    parser.add_argument("--validation", help="cut from train when left out")
    parser.add_argument("--max-rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one student size, one seed")
    arguments = parser.parse_args()
    overrides = [
        "models=[{base: minilm, layers: [1, 2, 6]}]", f"data={{train: {arguments.train}}}",
        f"data.max_rows={arguments.max_rows}",
        "training={method: [full, distill], precision: fp32, evaluations: 1, resources: {cpu: 1, gpu: 0}}",
    ]  # fmt: skip
    if arguments.validation:
        overrides += [f"data.validation={arguments.validation}", "data.split={test: 0.0}"]
    experiment = Experiment.load(REPO / "experiments" / "quickstart.yaml", overrides)
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(folder)
        dataset = prepare(experiment.task, experiment.data, storage)
        with driver_lock(storage):
            bench = Bench(experiment, dataset, storage)
            quick = arguments.quick
            row = measure(bench, 1 if quick else arguments.seeds, STUDENTS[:1] if quick else STUDENTS)
    row |= {"rows": {name: split.rows for name, split in dataset.splits.items()}, "quick": quick}
    row |= {"distill": experiment.training.distill.model_dump(), "data": Path(arguments.train).parent.name}
    publish(row, RESULTS / "distillation.jsonl")


if __name__ == "__main__":
    main()
