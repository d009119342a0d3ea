"""Seconds per trial spent outside training and evaluation: ours beside a plain Ray Tune function trainable.

python benchmarks/trial_overhead.py [--quick]

The same trials (MiniLM, 1 layer, the sample corpus, the product's own trial code) run one at a time through the
product's study and through a plain ``tune.Tuner`` with Ray's defaults, in turns on one cluster. A trial's overhead is
the time between two ends minus the seconds of training and evaluation that the trial itself measured. The first trial
of a turn is left out on both sides: it starts its worker. Prints a table and, on the last line, one JSON object.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from publishing import RESULTS, publish

from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import connect
from lft_ray.cluster.environment import machine
from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.records import DatasetRecord, IngressProfile, ProfileBook, ServingProfile, TrialConfig
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.search.interfaces import NullListener
from lft_ray.search.specs import StudySpecs
from lft_ray.search.study import StudyJob, run_study
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

REPO = Path(__file__).resolve().parent.parent
SIZE = "minilm:1"


class Clock(NullListener):
    """A listener that notes when each trial ended and what it spent on its work."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def on_record(self, record: Any) -> None:
        """Note the end."""
        self.ends.append((time.perf_counter(), record.usage.train_s + record.usage.eval_s))


def gaps(ends: list[tuple[float, float]]) -> list[float]:
    """Seconds between two ends, less the later trial's own work."""
    return [end - before - work for (before, _), (end, work) in itertools.pairwise(ends)]


def unpriced() -> ProfileBook:
    """A stand-in for profiles: what a prediction costs plays no part here."""
    common = {"p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "load_requests_per_s": 1.0, "texts_per_s": 1.0}
    counts = {"peak_bytes": 1, "repeats": 1, "spread": 0.0, "texts_measured": 1, "threads": 1}
    profile = ServingProfile(
        model_size=SIZE, precision="fp32", max_length=64, engine="torch", device="cpu", machine=machine(),
        core_s_per_text=1e-3, **common, **counts,
    )  # fmt: skip
    ingress = IngressProfile(machine=machine(), core_s_per_request=1e-3, requests_measured=1, repeats=1, spread=0.0)
    return ProfileBook(ingress=ingress, profiles=[profile])


def ours(experiment: Experiment, dataset: DatasetRecord, run_uri: str, cluster: Any) -> list[float]:
    """Overheads of the product's study."""
    clock = Clock()
    specs = StudySpecs(experiment.search, experiment.training, experiment.selection, experiment.cost)
    candidates = Candidates.of(experiment, dataset)
    run_study(StudyJob(Ledger(Storage(run_uri)), candidates, dataset, unpriced(), specs), cluster, clock)
    return gaps(clock.ends)


def plain(experiment: Experiment, dataset: DatasetRecord, run_uri: str) -> list[float]:
    """Overheads of a plain Tune function trainable with Ray's defaults."""
    from ray import tune

    def train(wanted: dict[str, Any]) -> None:
        config = TrialConfig(model_size=SIZE, batch_size=32, epochs=1, max_length=64, learning_rate=wanted["lr"])
        name = tune.get_context().get_trial_id()
        job = TrialJob.of(Candidates.of(experiment, dataset), dataset, experiment.training, run_uri)
        job = job.replace(trial_id=name, config=config)
        result = run_trial(job, lambda point: None)
        usage = result.usage
        tune.report({"f1": result.variants[0].f1, "work_s": usage.train_s + usage.eval_s})

    class Ends(tune.Callback):
        def __init__(self) -> None:
            self.found: list[tuple[float, float]] = []

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.found.append((time.perf_counter(), trial.last_result["work_s"]))

    ends = Ends()
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            param_space={"lr": tune.loguniform(1e-4, 1e-3)},
            tune_config=tune.TuneConfig(num_samples=experiment.search.trials, max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[ends]),
        ).fit()
    return gaps(ends.found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer trials and turns")
    arguments = parser.parse_args()
    trials, turns = (5, 1) if arguments.quick else (8, 3)
    overrides = [
        "models=[{base: minilm, layers: [1]}]", "training.epochs=1", "training.batch_size=32",
        "selection.confirmation_fraction=0",
        f"search={{trials: {trials}, concurrency: 1, sampler: random, object_store_mb: 100}}",
        f"data.train={REPO / 'experiments/data/news.csv'}",
    ]  # fmt: skip
    experiment = Experiment.load(REPO / "experiments" / "quickstart.yaml", overrides)
    found: dict[str, list[float]] = {"lft_ray": [], "plain tune": []}
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(experiment.task, experiment.data, Storage(folder))
        with connect(experiment.cluster, object_store_mb=100) as cluster:
            for turn in range(turns):
                found["lft_ray"] += ours(experiment, dataset, f"{folder}/ours-{turn}", cluster)
                found["plain tune"] += plain(experiment, dataset, f"{folder}/plain-{turn}")
    for name, seconds in found.items():
        print(f"{name:12} median {statistics.median(seconds):6.2f} s   {sorted(round(s, 2) for s in seconds)}")
    row = {
        "overhead_s_median": round(statistics.median(found["lft_ray"]), 3),
        "plain_tune_s_median": round(statistics.median(found["plain tune"]), 3),
        "trials": {name: len(seconds) for name, seconds in found.items()},
        "quick": arguments.quick,
    }
    publish(row, RESULTS / "trial_overhead.jsonl")


if __name__ == "__main__":
    main()
