"""How many workers a trial takes and what share of a GPU each, where the experiment says ``auto``.

In: the measured footprint of the largest size that may be trained, the nodes. Out: numbers in place of ``auto``. All
trials of a study hold the same: a trial can then never wait for a bundle that idle workers of another shape keep.
"""

import math
from collections.abc import Sequence

from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import ClusterHandle
from lft_ray.cluster.nodes import Node, describe
from lft_ray.config import TrainingSpec
from lft_ray.errors import InputError
from lft_ray.run.storage import Storage
from lft_ray.train.device.memory import USABLE
from lft_ray.train.footprint import Footprint, measure

__all__ = ["MAX_PACKED", "fit_training", "fitted"]

CONTEXT_BYTES = 600_000_000
"""What CUDA keeps for each process beside what torch counts. A guess on the large side."""
MAX_PACKED = 8
"""Most trials on one device. A choice: each also has a process, a core and a context of its own."""
_FILE = "footprint.json"


def fitted(training: TrainingSpec, candidates: Candidates, cluster: ClusterHandle, run: Storage) -> TrainingSpec:
    """``training`` with numbers in place of ``auto``; measured once a run, on a worker, if there is any to choose.

    Args:
        training: resolved but for these.
        candidates: what may be trained, and the task's outputs.
        cluster: connected.
        run: folder that keeps the footprint, so that a resumed run holds what it held.

    Raises:
        InputError: the largest size does not fit, however many workers share it.
    """
    packs = training.resources.gpu == "auto" and cluster.gpus > 0 and training.workers in {1, "auto"}
    if not candidates.networks or not (packs or training.workers == "auto"):
        return training
    largest = candidates.networks[-1].name
    footprint = Footprint.model_validate_json(run.get(_FILE)) if run.exists(_FILE) else None
    if footprint is None or footprint.model_size != largest:
        footprint = _measured(training, candidates, cluster, largest)
        run.put(_FILE, footprint.model_dump_json(indent=1))
    return fit_training(training, footprint, cluster.nodes)


def fit_training(training: TrainingSpec, footprint: Footprint, nodes: Sequence[Node]) -> TrainingSpec:
    """Numbers in place of ``auto``.

    One worker where the size fits one: N trials at a time cost less than one trial in N workers. Else as few as hold
    it in parts (FSDP2). A device is shared by as many trials as fit on it, and as have a core each.

    Raises:
        InputError: with what it needs and what there is.
    """
    cpu, gpu = training.resources.cpu, training.resources.gpu
    homes = [node for node in nodes if not footprint.on_gpu or node.gpus]
    by_cores = [math.floor(node.cpus / cpu + 1e-9) for node in homes]
    if not footprint.on_gpu:
        # Workers beside each other share the machine's memory.
        room = USABLE * footprint.memory_bytes / max(1, *by_cores)
    else:
        room = USABLE * footprint.memory_bytes
    workers = training.workers
    if workers == "auto":
        places = sum(by_cores) if not footprint.on_gpu else int(sum(node.gpus for node in homes))
        workers = _fewest(footprint, room, places, nodes)
    if gpu == "auto" and footprint.on_gpu:
        gpu = 1.0
        if workers == 1 and footprint.peak_bytes:
            by_memory = math.floor(room / (footprint.peak_bytes + CONTEXT_BYTES))
            cores = min(math.floor(node.cpus / node.gpus / cpu + 1e-9) for node in homes)
            gpu = 1.0 / max(1, min(by_memory, cores, MAX_PACKED))
    resources = training.resources.replace(gpu=gpu)
    return training.replace(workers=workers, resources=resources)


def _fewest(footprint: Footprint, room: float, places: int, nodes: Sequence[Node]) -> int:
    peak, state = footprint.peak_bytes, footprint.state_bytes
    if peak is not None and peak <= room:
        return 1
    # Of what did not fit, nobody knows the activations: a third of the memory, and the step halves them if it must.
    activations = max(0, peak - state) if peak is not None else room / 3
    left = room - activations
    workers = max(2, math.ceil(state / left)) if left > 0 else 0
    if not 0 < workers <= places:
        need = f"{peak / 1e9:.1f} GB" if peak is not None else f"more than {footprint.memory_bytes / 1e9:.1f} GB"
        raise InputError(
            f"{footprint.model_size} takes {need} to train, a worker has {room / 1e9:.1f} GB, and the cluster "
            f"({describe(nodes)}) has {places} places for workers"
            + (f": {workers} are needed to hold it in parts" if workers else ""),
            fix="lower training.micro_batch_tokens or the layers of models, or use larger devices",
        )
    return workers


def _measured(training: TrainingSpec, candidates: Candidates, cluster: ClusterHandle, largest: str) -> Footprint:
    import ray

    gpus = min(1.0, cluster.gpus_per_worker(training.resources))
    # A process of its own, which gives all its memory back.
    task = ray.remote(num_cpus=training.resources.cpu, num_gpus=gpus, max_calls=1, max_retries=2)(measure)
    answer = task.remote(candidates.models, largest, training, candidates.task.outputs)
    footprint: Footprint = ray.get(answer)
    return footprint
