"""Learning curves of 1, 2 and 4 workers with one seed, through Ray Train, on real text: they must lie on each other.

python benchmarks/worker_curves.py [--quick] [--data news.csv] [--sharding ddp|fsdp]

The same configuration of MiniLM (2 layers, fp32) trains in one process, in 2 and in 4 workers. Prints loss and F1 of
each validation pass side by side, a drawing of the three loss curves, and, on the last line, one JSON object with the
greatest relative difference of a validation loss from that of one worker.
"""

import argparse
import os
import tempfile
from pathlib import Path

from publishing import RESULTS, publish

from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import connect
from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.records import CurvePoint, TrialConfig, TrialStatus
from lft_ray.run.storage import Storage
from lft_ray.train.distributed.sharded import run_sharded
from lft_ray.train.distributed.worker_group import shut_down
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

REPO = Path(__file__).resolve().parent.parent
WORKERS = (1, 2, 4)
ROWS = 12
"""Lines of the drawing."""


def draw(curves: dict[int, list[CurvePoint]]) -> str:
    """The loss curves as text: the number of workers stands at each point, ``*`` where several share a place."""
    losses = [point.loss for curve in curves.values() for point in curve]
    low, high = min(losses), max(losses)
    grid = [[" "] * (6 * len(curves[1])) for _ in range(ROWS)]
    for workers, curve in curves.items():
        for column, point in enumerate(curve):
            row = round((high - point.loss) / ((high - low) or 1.0) * (ROWS - 1))
            place = grid[row][6 * column]
            grid[row][6 * column] = str(workers) if place == " " else "*"
    lines = ["".join(line).rstrip() for line in grid]
    return "\n".join(f"{high - (high - low) * n / (ROWS - 1):7.4f} | {line}" for n, line in enumerate(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one epoch")
    parser.add_argument("--data", type=Path, default=REPO / "experiments/data/news.csv")
    parser.add_argument("--sharding", choices=["ddp", "fsdp"], default="ddp")
    arguments = parser.parse_args()
    os.environ.setdefault("RAY_worker_niceness", "0")
    overrides = [
        "models=[{base: minilm, layers: [2]}]", f"data.train={arguments.data.resolve()}", "training.precision=fp32",
        f"training.sharding={arguments.sharding}", "training.evaluations=8", "training.resources={cpu: 0.5}",
    ]  # fmt: skip
    experiment = Experiment.load(REPO / "experiments" / "quickstart.yaml", overrides)
    curves: dict[int, list[CurvePoint]] = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(experiment.task, experiment.data, Storage(folder))
        with connect(experiment.cluster, object_store_mb=100, needs_dashboard=True):
            for workers in WORKERS:
                config = TrialConfig(
                    model_size="minilm:2", batch_size=30, epochs=1 if arguments.quick else 3, max_length=64,
                    learning_rate=3e-4,
                )  # fmt: skip
                training = experiment.training.model_copy(update={"workers": workers})
                name = f"{workers}-workers"
                job = TrialJob.of(Candidates.of(experiment, dataset), dataset, training, folder)
                job = job.replace(trial_id=name, config=config)
                result = (run_trial if workers == 1 else run_sharded)(job, lambda _: None)
                if result.status is not TrialStatus.DONE:
                    raise SystemExit(f"{workers} workers: {result.reason}")
                curves[workers] = result.curve
            shut_down()
    print("  step  " + "  ".join(f"loss x{n:<9} F1 x{n:<5}" for n in WORKERS))
    for points in zip(*curves.values(), strict=True):
        print(f"{points[0].step:6}  " + "  ".join(f"{p.loss:<14.7f} {p.f1:<8.4f}" for p in points))
    print(draw(curves))
    apart = {
        n: max(abs(a.loss - b.loss) / b.loss for a, b in zip(curves[n], curves[1], strict=True)) for n in WORKERS[1:]
    }
    row = {
        "greatest_loss_difference": max(apart.values()),
        "by_workers": {str(n): value for n, value in apart.items()},
        "greatest_f1_difference": max(
            abs(a.f1 - b.f1) for n in WORKERS[1:] for a, b in zip(curves[n], curves[1], strict=True)
        ),
        "sharding": arguments.sharding,
        "train_rows": dataset.splits["train"].rows,
        "quick": arguments.quick,
    }
    publish(row, RESULTS / "worker_curves.jsonl")


if __name__ == "__main__":
    main()
