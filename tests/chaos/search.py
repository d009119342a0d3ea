"""A whole search on tiny data and a tiny model, as a process of its own: what chaos tests disturb.

``python -m tests.chaos.search EXPERIMENT.json [retry]`` prepares the data and runs the trials, with serving profiles
that were not measured, so that no endpoint has to start. A run that exists is resumed.
"""

import json
import os
import sys
from pathlib import Path

from lft_ray.causes import named_faults
from lft_ray.cluster.connect import connect
from lft_ray.cluster.watch import when_stuck
from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.errors import LftError
from lft_ray.models.words import MAX_WORDS
from lft_ray.records import IngressProfile, ProfileBook, ServingProfile
from lft_ray.run.ledger import driver_lock
from lft_ray.run.storage import Storage
from lft_ray.search.retry import retry_failed
from lft_ray.search.study import run_study
from tests import handed_down

__all__ = ["book", "experiment_of"]


def experiment_of(folder: Path, base: Path, storage: Path, *, trials: int = 3, **training: object) -> Path:
    """Write an experiment of TF-IDF and two sizes of a tiny model. Returns its file."""
    rows = [f"{word} number {i}\t{label}" for i in range(120) for word, label in (("goal", "sport"), ("bank", "money"))]
    lines = ["text,label", *(",".join(row.split("\t")) for row in rows)]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    tree = {
        "name": "run",
        "data": {"train": str(folder / "rows.csv")},
        "models": [{"base": "tfidf"}, {"base": str(base), "layers": [1, 2]}],
        "training": {"max_length": 32, "batch_size": 16, "epochs": 2, "evaluations": 2, **training},
        "search": {"trials": trials, "sampler": "random"},
        "storage": str(storage),
    }
    path = folder / "experiment.json"
    path.write_text(json.dumps(tree))
    return path


def book(sizes: list[str]) -> ProfileBook:
    """Made-up profiles: dearer with each size."""
    common = {"machine": "m", "repeats": 3, "spread": 0.0}
    profiles = [
        ServingProfile(
            model_size=size, precision="fp32", max_length=MAX_WORDS if size == "tfidf" else 32, engine="torch",
            device="cpu", threads=1, p50_ms=1.0,
            core_s_per_text=1e-4 * (number + 1), texts_per_s=100.0, p95_ms=2.0, p99_ms=3.0, load_requests_per_s=10.0,
            peak_bytes=1, texts_measured=10, **common,
        )
        for number, size in enumerate(sizes)
    ]  # fmt: skip
    return ProfileBook(
        ingress=IngressProfile(core_s_per_request=5e-4, requests_measured=1, **common), profiles=profiles
    )


def main(path: str, *words: str) -> None:
    experiment = Experiment.model_validate_json(Path(path).read_text())
    storage = Storage(experiment.run_uri)
    with named_faults(storage.uri), when_stuck(leave), driver_lock(storage):
        dataset = prepare(experiment.task, experiment.data, storage)
        job = handed_down.study(experiment, dataset, ProfileBook(ingress=book([]).ingress, profiles=[]))
        names = [size.name for size in job.candidates.sizes]
        job = handed_down.study(experiment, dataset, book(names))
        if "retry" in words:
            print(retry_failed(job.ledger), flush=True)
        with connect(experiment.cluster, object_store_mb=100) as cluster:
            records = run_study(job, cluster)
    for record in records:
        print(record.trial_id, record.attempt, record.status.value, record.note, flush=True)


def leave(error: LftError) -> None:
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except LftError as found:
        leave(found)
