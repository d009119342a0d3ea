"""Resolve ``auto``: the number of workers per trial, and the fraction of a GPU for each worker.

In: the measured memory footprint of the largest candidate, the nodes. Out: numbers in place of ``auto``. All trials of
a study reserve the same resources, so no trial waits for a bundle that idle workers of another shape still hold.
"""

import math
from collections.abc import Sequence
from contextlib import suppress

from lft_ray.candidates import Candidates
from lft_ray.cluster.connect import ClusterHandle
from lft_ray.cluster.nodes import Node, describe
from lft_ray.config import TrainingSpec
from lft_ray.errors import DamagedFileError, InputError
from lft_ray.run.files import read_record
from lft_ray.run.storage import Storage
from lft_ray.train.device.memory import USABLE
from lft_ray.train.footprint import Footprint, measure

__all__ = ["MAX_PACKED", "fit_training", "fitted"]

CONTEXT_BYTES = 600_000_000
"""Device memory of a CUDA context per process, which torch does not count. A deliberately high guess."""
MAX_PACKED = 8
"""Maximum trials per device. A choice: each also needs its own process, core and CUDA context."""
_FILE = "footprint.json"


def fitted(training: TrainingSpec, candidates: Candidates, cluster: ClusterHandle, run: Storage) -> TrainingSpec:
    """Return ``training`` with numbers in place of ``auto``; measured once per run on a worker, if needed.

    Args:
        training: training config, resolved except for ``auto``.
        candidates: model sizes to train, and the number of task outputs.
        cluster: connected cluster.
        run: run folder that stores the footprint, so that a resumed run reserves the same resources.

    Raises:
        InputError: the largest model size does not fit, even when sharded over all workers.
    """
    packs = training.resources.gpu == "auto" and cluster.gpus > 0 and training.workers in {1, "auto"}
    if not candidates.networks or not (packs or training.workers == "auto"):
        return training
    largest = candidates.networks[-1].name
    footprint = None
    # It can be measured again, so an unreadable one stops nothing.
    with suppress(FileNotFoundError, DamagedFileError):
        footprint = read_record(run, _FILE, Footprint)
    if footprint is None or footprint.model_size != largest:
        footprint = _measured(training, candidates, cluster, largest)
        run.put(_FILE, footprint.model_dump_json(indent=1))
    return fit_training(training, footprint, cluster.nodes)


def fit_training(training: TrainingSpec, footprint: Footprint, nodes: Sequence[Node]) -> TrainingSpec:
    """Choose numbers in place of ``auto``.

    One worker if the model fits: N trials in parallel cost less than one trial sharded over N workers. Otherwise the
    fewest workers that hold the model in shards (FSDP2). A device is shared by as many trials as fit its memory and
    have a core each.

    Raises:
        InputError: the model does not fit; the message states required and available memory.
    """
    cpu, gpu = training.resources.cpu, training.resources.gpu
    eligible = [node for node in nodes if not footprint.on_gpu or node.gpus]
    by_cores = [math.floor(node.cpus / cpu + 1e-9) for node in eligible]
    if not footprint.on_gpu:
        # Workers on the same node share its memory.
        room = USABLE * footprint.memory_bytes / max(1, *by_cores)
    else:
        room = USABLE * footprint.memory_bytes
    workers = training.workers
    if workers == "auto":
        places = sum(by_cores) if not footprint.on_gpu else int(sum(node.gpus for node in eligible))
        workers = _fewest(footprint, room, places, nodes)
    if gpu == "auto" and footprint.on_gpu:
        gpu = 1.0
        if workers == 1 and footprint.peak_bytes:
            by_memory = math.floor(room / (footprint.peak_bytes + CONTEXT_BYTES))
            cores = min(math.floor(node.cpus / node.gpus / cpu + 1e-9) for node in eligible)
            gpu = 1.0 / max(1, min(by_memory, cores, MAX_PACKED))
    resources = training.resources.replace(gpu=gpu)
    return training.replace(workers=workers, resources=resources)


def _fewest(footprint: Footprint, room: float, places: int, nodes: Sequence[Node]) -> int:
    peak, state = footprint.peak_bytes, footprint.state_bytes
    if peak is not None and peak <= room:
        return 1
    # Activations were not measured if the model did not fit: assume a third of the memory; the training step halves the
    # micro-batch if that is too much.
    activations = max(0, peak - state) if peak is not None else room / 3
    left = room - activations
    workers = max(2, math.ceil(state / left)) if left > 0 else 0
    if not 0 < workers <= places:
        need = f"{peak / 1e9:.1f} GB" if peak is not None else f"more than {footprint.memory_bytes / 1e9:.1f} GB"
        raise InputError(
            f"{footprint.model_size} takes {need} to train, a worker has {room / 1e9:.1f} GB, and the cluster "
            f"({describe(nodes)}) has room for {places} workers"
            + (f": {workers} are needed to shard the model" if workers else ""),
            fix="lower training.micro_batch_tokens or the layers of models, or use larger devices",
        )
    return workers


def _measured(training: TrainingSpec, candidates: Candidates, cluster: ClusterHandle, largest: str) -> Footprint:
    import ray

    gpus = min(1.0, cluster.gpus_per_worker(training.resources))
    # max_calls=1: the measuring process exits afterwards and releases all its memory.
    task = ray.remote(num_cpus=training.resources.cpu, num_gpus=gpus, max_calls=1, max_retries=2)(measure)
    reference = task.remote(candidates.models, largest, training, candidates.task.outputs)
    footprint: Footprint = ray.get(reference)
    return footprint
