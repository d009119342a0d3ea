"""Twelve trivial trials on two nodes with a made-up GPU each: ``python -m tests.search.packed RUN_FOLDER``."""

import sys
from collections import Counter
from pathlib import Path

from ray.cluster_utils import Cluster

from lft_ray.cluster.connect import connect
from lft_ray.config import ClusterSpec, TrainingSpec
from lft_ray.records import TrialStatus
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.interfaces import Queued, StudyPlan
from lft_ray.search.resources import fit_training
from lft_ray.search.space import start_table
from lft_ray.search.tune.tuner import run_trials
from lft_ray.train.footprint import Footprint
from tests.search.driver import price
from tests.search.test_resources import OnDevice
from tests.search.trivial import SIZES, seen

TRIALS = 12


def main(run_uri: str) -> None:
    import ray

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    for _ in range(2):
        nodes.add_node(num_cpus=2, num_gpus=1, object_store_memory=100_000_000)
    ray.init(address=nodes.address, log_to_driver=False)
    with connect(ClusterSpec()) as handle:
        found = Footprint(model_size="x", state_bytes=10**9, peak_bytes=2 * 10**9, memory_bytes=24 * 10**9, on_gpu=True)
        training = fit_training(TrainingSpec(batch_size=16, epochs=1), found, handle.nodes)
        # Two cores a device bind before its memory does.
        assert training.resources.gpu == 0.5, training.resources
        slots = handle.slots(training)
        assert slots == 4
        ledger = Ledger(Storage(run_uri))
        ledger.adopt(price)
        configs = [c.model_copy(update={"seed": n}) for n in range(TRIALS) for c in start_table(SIZES, training)[:1]]
        plan = StudyPlan(queue=tuple(map(Queued, configs)), trials=TRIALS, slots=slots)
        run_trials(Dispatcher(ledger, plan, None, price), OnDevice(run_uri), handle, training)
        records = ledger.records()
    assert [r.status for r in records] == [TrialStatus.DONE] * TRIALS, records
    places = Counter(path.read_text() for path in Path(run_uri, "places").iterdir())
    assert len(places) == 2, places
    now = most = 0
    for line in sorted(seen(run_uri), key=lambda s: s.at):
        now += 1 if line.what == "start" else -1
        most = max(most, now)
    print(f"{dict(places)}, at most {most} at a time")
    assert 2 < most <= slots
    ray.shutdown()
    nodes.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
