"""Real processes of one gloo group, without Ray."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

LIMIT_S = 300


def _member(work: Callable[[int, Path], None], rank: int, world: int, folder: Path) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    work(rank, folder)
    # What the work left is on disk. An interpreter that winds down beside gloo's threads ended in SIGABRT in 2 of 8
    # runs on a busy machine ("terminate called without an active exception"), so it does not wind down.
    dist.barrier()
    os._exit(0)


def run_ranks(work: Callable[[int, Path], None], folder: Path, world: int = 2) -> None:
    """Call ``work(rank, folder)`` in ``world`` processes of one group; all must end well."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_member, args=(work, rank, world, folder)) for rank in range(world)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(LIMIT_S)
        assert [process.exitcode for process in processes] == [0] * world
    finally:
        for process in processes:
            process.kill()
