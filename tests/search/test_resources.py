"""Workers and shares of a GPU from a measured footprint: as values, and packed on a cluster whose GPUs are made up."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from lft_ray.candidates import Candidates
from lft_ray.cluster.nodes import Node
from lft_ray.config import Experiment, ModelSpec, ResourcesSpec, TrainingSpec
from lft_ray.errors import InputError
from lft_ray.records import DatasetRecord
from lft_ray.run.storage import Storage
from lft_ray.search.resources import MAX_PACKED, fit_training, fitted
from lft_ray.train.footprint import Footprint, measure
from tests.conftest import REPO

GB = 10**9
NODES = (Node("head", 1, 0), Node("a", 8, 1), Node("b", 8, 1))


def footprint(
    peak_gb: float | None, *, state_gb: float = 1.0, memory_gb: float = 24.0, on_gpu: bool = True
) -> Footprint:
    peak = None if peak_gb is None else int(peak_gb * GB)
    return Footprint(
        model_size="big",
        state_bytes=int(state_gb * GB),
        peak_bytes=peak,
        memory_bytes=int(memory_gb * GB),
        on_gpu=on_gpu,
    )


def fit(found: Footprint, nodes=NODES, **training) -> tuple[int | str, float | str]:
    spec = fit_training(TrainingSpec(**({"workers": "auto"} | training)), found, nodes)
    return spec.workers, spec.resources.gpu


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (footprint(2.0), (1, 1 / 8)),  # 21.6 GB are given out: ten would fit, a device has eight cores
        (footprint(5.0), (1, 1 / 3)),
        (footprint(21.0), (1, 1.0)),
        (footprint(30.0, state_gb=28.0), (2, 1.0)),  # 28 GB in two parts beside 2 GB of activations
        (footprint(None, state_gb=28.0), (2, 1.0)),
    ],
)
def test_a_trial_takes_what_its_footprint_needs(found, expected):
    assert fit(found) == expected


def test_cores_bound_the_packing():
    assert fit(footprint(0.1), nodes=(Node("a", 64, 1),)) == (1, 1 / MAX_PACKED)
    assert fit(footprint(0.1), nodes=(Node("a", 3, 1),)) == (1, 1 / 3)
    assert fit(footprint(0.1), nodes=(Node("a", 8, 1),), resources=ResourcesSpec(cpu=4)) == (1, 1 / 2)


def test_what_is_given_is_left():
    assert fit(footprint(2.0), resources=ResourcesSpec(gpu=0.5)) == (1, 0.5)
    assert fit(footprint(2.0), workers=2) == (2, 1.0)


def test_processor_workers_share_the_memory_of_their_machine():
    nodes = (Node("a", 4, 0),)
    assert fit(footprint(3.0, memory_gb=16.0, on_gpu=False), nodes=nodes) == (1, "auto")
    assert fit(footprint(6.0, state_gb=5.0, memory_gb=16.0, on_gpu=False), nodes=nodes)[0] == 2


@pytest.mark.parametrize(
    "found", [footprint(90.0, state_gb=80.0), footprint(40.0, state_gb=10.0), footprint(None, state_gb=90.0)]
)
def test_what_no_number_of_workers_holds_is_refused(found):
    with pytest.raises(InputError, match=r"big takes .* to train, a worker has 21.6 GB"):
        fit(found)


def test_a_footprint_is_measured(tiny_bert):
    spec = TrainingSpec(micro_batch_tokens=512, max_length=32)
    found = measure([ModelSpec(base=str(tiny_bert), layers=[2])], f"{tiny_bert}:2", spec, 3)
    assert not found.on_gpu
    assert found.state_bytes < found.peak_bytes < found.memory_bytes


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_auto_is_measured_on_a_worker_and_kept_for_a_resume(cluster, tiny_bert, tmp_path):
    overrides = [f"models=[{{base: {tiny_bert}, layers: [1, 2]}}]", "training.workers=auto"]
    experiment = Experiment.load(REPO / "experiments" / "quickstart.yaml", overrides)
    dataset, run = DatasetRecord.model_construct(labels=["a", "b"]), Storage(tmp_path)
    made = Candidates.of(experiment, dataset)
    decided = fitted(experiment.training, made, cluster, run)
    assert (decided.workers, decided.resources.gpu) == (1, "auto")
    kept = Footprint.model_validate_json(run.get("footprint.json"))
    assert kept.model_size == f"{tiny_bert}:2"
    assert kept.state_bytes < kept.peak_bytes
    # What was measured decides on resume: this one holds the state in parts alone.
    share = kept.memory_bytes // int(max(node.cpus for node in cluster.nodes))
    large = kept.model_copy(update={"peak_bytes": int(1.2 * share), "state_bytes": int(1.1 * share)})
    run.put("footprint.json", large.model_dump_json())
    assert fitted(experiment.training, made, cluster, run).workers == 2
    given = experiment.training.replace(workers=3)
    assert fitted(given, made, cluster, run) is given


@dataclass(frozen=True)
class OnDevice:
    """A trivial trial that notes which device it was given."""

    run_uri: str

    def __call__(self, trial, report, /):
        import ray

        from tests.search.trivial import Trivial

        context = ray.get_runtime_context()
        place = f"{context.get_node_id()[:8]}/{','.join(context.get_accelerator_ids()['GPU'])}"
        folder = Path(self.run_uri) / "places"
        folder.mkdir(exist_ok=True)
        (folder / trial.trial_id).write_text(place)
        return Trivial(self.run_uri, seconds=2.0)(trial, report)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_small_trials_are_packed_on_a_device_and_all_come_through(tmp_path):
    """Run by itself: a process that is connected to another cluster cannot join this one."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "tests.search.packed", str(tmp_path)],
        env=os.environ | {"RAY_worker_niceness": "0"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
