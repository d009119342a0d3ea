"""Record real learning curves to replay searches on: benchmarks/tables/<task>/{runs,points,preds,serve}.parquet.

python benchmarks/record_table.py --data FOLDER [--task trec,sst2] [--processes 2] [--limit N] [--serve] [--quick]

Trains a grid (MiniLM at 6 depths x 7 learning rates x epochs {1, 3} x 3 seeds, batch 32; batch 16 and 64 on a part;
TF-IDF) through the product's own trial code, one thread a run. Stop it at any time: what was recorded stays, and the
next call goes on. Seconds are processor seconds of the run's process, so they hold on a shared machine. ``--serve``
measures what each size costs to serve, in a Ray Serve replica, as a study does.
"""

import argparse
import json
import multiprocessing
import os
import queue
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from recording.grid import DEPTHS, GridRun, grid
from recording.tables import Table
from recording.tasks import TASKS, RecordedTask, prepared

from lft_ray.cluster.environment import WORKER_ENV
from lft_ray.config import CostSpec, ModelSpec, ServeSpec, TrainingSpec
from lft_ray.cost.dollars import usd_per_million_predictions
from lft_ray.cost.prices import price_of
from lft_ray.models.sizes import find_size
from lft_ray.records import DatasetRecord, TrialResult

REPO = Path(__file__).resolve().parent.parent
TABLES = REPO / "benchmarks" / "tables"
MODELS = [ModelSpec(base="tfidf"), ModelSpec(base="minilm", layers=list(DEPTHS))]
EVALUATIONS = 5
GATHER_EVERY = 24


def record_runs(
    todo: "multiprocessing.Queue[GridRun]", task: str, dataset: DatasetRecord, work: Path, sha: str
) -> None:
    """Run trials until none is left. The first of each size in a process is run twice: it fills the caches."""
    table = Table(TABLES / task, work / "loose")
    warm: set[str] = set()
    while True:
        try:
            run = todo.get(timeout=2.0)
        except queue.Empty:
            return
        for _ in range(1 if run.config.model_size in warm else 2):
            parts = recorded(run, task, dataset, work / f"trials-{os.getpid()}", sha)
        warm.add(run.config.model_size)
        table.put_loose(run.run_id, parts)


def recorded(run: GridRun, task: str, dataset: DatasetRecord, work: Path, sha: str) -> dict[str, list[dict[str, Any]]]:
    """Train one run and turn what it left into rows."""
    from lft_ray.train.job import TrialJob
    from lft_ray.train.trial import run_trial

    job = TrialJob(
        trial_id=f"r{run.run_id}",
        config=run.config,
        models=MODELS,
        task_kind="classification",
        labels=dataset.labels,
        dataset=dataset.model_copy(update={"sample_texts": [], "problems": []}),
        training=TrainingSpec(evaluations=EVALUATIONS, max_length=run.config.max_length, checkpoint_every_s=1e9),
        run_uri=str(work),
    )
    began, stamps = time.process_time(), {}
    result = run_trial(job, lambda point: stamps.update({point["fraction"]: time.process_time() - began}))
    core_s = time.process_time() - began
    parts = {
        "runs": [run_row(run, task, dataset, result, core_s, sha)],
        "points": point_rows(run, result, stamps, core_s),
        "preds": prediction_rows(run, result),
    }
    shutil.rmtree(work / "trials", ignore_errors=True)
    return parts


def run_row(
    run: GridRun, task: str, dataset: DatasetRecord, result: TrialResult, core_s: float, sha: str
) -> dict[str, Any]:
    """The row of ``runs``."""
    config, size = run.config, find_size(MODELS, run.config.model_size)[1]
    return {
        "run_id": run.run_id, "task": task, "config_id": run.config_id, "seed": config.seed, "size": config.model_size,
        "depth": size.layers or 0, "params": size.params, "lr": config.learning_rate or float("nan"),
        "batch": config.batch_size or 0, "epochs": config.epochs or 0,
        "method": "tfidf" if size.is_linear else config.method, "max_len": config.max_length, "precision": "fp32",
        "train_rows": dataset.splits["train"].rows, "validation_rows": dataset.splits["validation"].rows,
        "status": str(result.status), "core_s": core_s, "wall_s": result.usage.wall_s,
        "train_usd": core_s * price_of(CostSpec()).training_usd_per_core_s, "device": "cpu", "code_sha": sha,
        "data_sha": dataset.fingerprint,
    }  # fmt: skip


def point_rows(run: GridRun, result: TrialResult, stamps: dict[float, float], core_s: float) -> list[dict[str, Any]]:
    """The rows of ``points``. ``eval_s`` is the run's mean over its validation passes, in wall seconds."""
    usd = price_of(CostSpec()).training_usd_per_core_s
    passes = max(1, len(result.curve))
    rows = []
    for point in result.curve:
        spent = core_s if point.fraction >= 1.0 else stamps[point.fraction]
        rows.append(
            {"run_id": run.run_id, "step": point.step, "frac": point.fraction, "train_s": spent,
             "eval_s": result.usage.eval_s / passes, "train_usd": spent * usd, "val_f1": point.f1,
             "val_loss": point.loss}
        )  # fmt: skip
    return rows


def prediction_rows(run: GridRun, result: TrialResult) -> list[dict[str, Any]]:
    """The rows of ``preds``: probabilities of the last validation pass."""
    import numpy as np
    import pyarrow.parquet as pq

    if not result.variants:
        return []
    table = pq.read_table(result.variants[0].predictions_uri.removeprefix("file://"))
    logits = np.array(table["logits"].to_pylist(), np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float16)
    return [
        {"run_id": run.run_id, "row_id": row, "y": target, "p": [float(p) for p in share]}
        for row, target, share in zip(range(len(shares)), table["target"].to_pylist(), shares, strict=True)
    ]


def record_task(task: RecordedTask, data: Path, work: Path, *, processes: int, limit: int | None) -> dict[str, Any]:
    """Record what is missing of a task."""
    work = work / task.name
    dataset = prepared(task, data, work)
    table = Table(TABLES / task.name, work / "loose")
    table.gather()
    there = table.recorded()
    missing = [run for run in grid(task.max_length) if run.run_id not in there][:limit]
    context = multiprocessing.get_context("spawn")
    todo: multiprocessing.Queue[GridRun] = context.Queue()
    todo.cancel_join_thread()  # or an interrupted recorder waits forever for someone to take what is left
    for run in missing:
        todo.put(run)
    sha = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=REPO, capture_output=True, text=True).stdout
    arguments = (todo, task.name, dataset, work, sha.strip())
    workers = [context.Process(target=record_runs, args=arguments) for _ in range(min(processes, len(missing)))]
    for worker in workers:
        worker.start()
    wait_for(workers, table, task.name, len(there) + len(missing))
    return {"runs": table.gather(), "new": len(missing)}


def wait_for(workers: list[Any], table: Table, name: str, wanted: int) -> None:
    """Gather now and then until the workers are done; end them when interrupted."""
    begun, before = time.monotonic(), len(table.recorded())
    try:
        while any(worker.is_alive() for worker in workers):
            time.sleep(2.0)
            if len(list(table.loose.glob("*.json"))) >= GATHER_EVERY:
                done = table.gather()
                pace = (time.monotonic() - begun) / max(1, done - before)
                print(f"{name}: {done} of {wanted} runs, {pace:.1f} s a run", flush=True)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def record_serving(task: RecordedTask, data: Path, work: Path) -> None:
    """Measure what each size costs to serve on this task's texts; replaces what was measured before."""
    from lft_ray.candidates import Candidates
    from lft_ray.cluster.connect import connect
    from lft_ray.config import ClusterSpec, DataSpec, Experiment, ExportSpec
    from lft_ray.profile.measure import measure_profiles
    from lft_ray.profile.requests import profile_requests

    dataset = prepared(task, data, work / task.name)
    experiment = Experiment(
        name="record", data=DataSpec(train="unused"), models=MODELS, training=TrainingSpec(max_length=task.max_length),
        export=ExportSpec(precisions=["fp32", "bf16"]),
    )  # fmt: skip
    with connect(ClusterSpec(), object_store_mb=100):
        candidates = Candidates.of(experiment, dataset).with_weights(dataset)
        book = measure_profiles(profile_requests(candidates, dataset), dataset, ServeSpec())
    cost = CostSpec()
    rows = [
        {"size": p.model_size, "precision": p.precision, "eval_len": p.max_length, "device": p.device,
         "core_s_per_text": p.core_s_per_text, "core_s_per_request": book.ingress.core_s_per_request,
         "p50_ms": p.p50_ms, "p95_ms": p.p95_ms, "p99_ms": p.p99_ms, "rows_per_s": p.texts_per_s,
         "usd_per_million": usd_per_million_predictions(p, book.ingress, price_of(cost), utilisation=cost.utilisation),
         "n_reps": p.repeats}
        for p in book.profiles
    ]  # fmt: skip
    Table(TABLES / task.name, work / task.name / "loose").write("serve", rows, keep=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder a data set")
    parser.add_argument("--task", default=",".join(TASKS), help="tasks, joined by commas")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--limit", type=int, default=None, help="at most so many new runs a task")
    parser.add_argument("--serve", action="store_true", help="measure serving costs instead")
    parser.add_argument("--quick", action="store_true", help="three new runs a task")
    parser.add_argument("--work", type=Path, default=Path("/tmp/lft-record"), help="scratch folder")
    arguments = parser.parse_args()
    os.environ.update(WORKER_ENV)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    limit = 3 if arguments.quick else arguments.limit
    row = {}
    for name in arguments.task.split(","):
        if arguments.serve:
            record_serving(TASKS[name], arguments.data, arguments.work)
        else:
            row[name] = record_task(
                TASKS[name], arguments.data, arguments.work, processes=arguments.processes, limit=limit
            )
    print(json.dumps(row))


if __name__ == "__main__":
    main()
