"""Seconds before a sharded trial trains: on a new worker group, and on one that is up.

python benchmarks/worker_group_startup.py [--quick]

A trial of MiniLM (1 layer, the sample corpus) in two workers of one core, called as a study calls it. Its start-up is
the time from the call to its first point, the probe, less the seconds that the workers themselves had spent on the
trial by then. Cold: the worker group is shut down before the call, so controller, workers and process group are started
for it. Prints a table and, on the last line, one JSON object.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from publishing import RESULTS, publish

from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import connect
from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.records import DatasetRecord, TrialConfig, TrialStatus
from lft_ray.run.storage import Storage
from lft_ray.train.distributed.sharded import run_sharded
from lft_ray.train.distributed.worker_group import shut_down
from lft_ray.train.job import TrialJob

REPO = Path(__file__).resolve().parent.parent
WORKERS = 2


def startup_s(experiment: Experiment, dataset: DatasetRecord, run_uri: str, name: str) -> float:
    """Start-up of one trial."""
    first: list[float] = []
    config = TrialConfig(model_size="minilm:1", batch_size=32, epochs=1, max_length=64, learning_rate=3e-4)
    training = experiment.training.model_copy(update={"workers": WORKERS})
    job = TrialJob.of(Candidates.of(experiment, dataset), dataset, training, run_uri)
    job = job.replace(trial_id=name, config=config)
    began = time.monotonic()

    def hear(point: dict[str, Any]) -> None:
        first.append(time.monotonic() - began - point["train_s"])

    result = run_sharded(job, hear)
    if result.status is not TrialStatus.DONE:
        raise SystemExit(f"{name}: {result.reason}")
    return first[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer trials")
    arguments = parser.parse_args()
    turns, warm = (1, 4) if arguments.quick else (3, 6)
    # Ray's workers run at nice 15 unless told otherwise; this one asks what the product costs, not its neighbours.
    os.environ.setdefault("RAY_worker_niceness", "0")
    overrides = ["models=[{base: minilm, layers: [1]}]", f"data.train={REPO / 'experiments/data/news.csv'}"]
    experiment = Experiment.load(REPO / "experiments" / "quickstart.yaml", overrides)
    found: dict[str, list[float]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(experiment.task, experiment.data, Storage(folder))
        with connect(experiment.cluster, object_store_mb=100, needs_dashboard=True):
            for turn in range(turns):
                shut_down()
                found["cold"].append(startup_s(experiment, dataset, folder, f"cold-{turn}"))
                found["warm"] += [startup_s(experiment, dataset, folder, f"warm-{turn}-{n}") for n in range(warm)]
            shut_down()
    for name, seconds in found.items():
        print(f"{name:5} median {statistics.median(seconds):6.2f} s   {sorted(round(s, 2) for s in seconds)}")
    row = {
        "cold_start_s_median": round(statistics.median(found["cold"]), 3),
        "warm_start_s_median": round(statistics.median(found["warm"]), 3),
        "workers": WORKERS,
        "trials": {name: len(seconds) for name, seconds in found.items()},
        "quick": arguments.quick,
    }
    publish(row, RESULTS / "worker_group_startup.jsonl")


if __name__ == "__main__":
    main()
