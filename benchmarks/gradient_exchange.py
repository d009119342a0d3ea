"""Seconds a step of two processor workers: gradients exchanged after the last pass beside DDP, which overlaps them.

python benchmarks/gradient_exchange.py [--quick]

Two processes of one thread train MiniLM's shape (random weights, 32 texts of 32 tokens a step) over gloo, in turns:
with the product's exchange, which all agree on first, and with DistributedDataParallel. Prints a table and, on the last
line, one JSON object; ``ours_over_ddp`` above 1 is what the agreement costs.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from publishing import RESULTS, publish

from lft_ray.config import ModelSpec

WORLD, TEXTS, TOKENS, LAYERS = 2, 32, 32, 2


def step_of(kind: str) -> Callable[[], None]:
    """One training step without the optimizer's, in the given way."""
    import torch

    from lft_ray.models.network import build
    from lft_ray.models.resolve import find_base
    from lft_ray.models.sizes import find_size
    from lft_ray.train.device.parallel import share
    from lft_ray.train.device.process_group import current_group

    spec, size = find_size([ModelSpec(base="minilm", layers=[LAYERS])], f"minilm:{LAYERS}")
    network = build(find_base(spec), size, 4, random=True)
    ids = torch.randint(1000, 20000, (TEXTS // WORLD, TOKENS))
    if kind == "ddp":
        wrapped: Any = torch.nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)

        def step() -> None:
            wrapped.zero_grad(set_to_none=True)
            wrapped(ids, torch.ones_like(ids)).square().sum().backward()

        return step
    sharing = share(network, current_group(), is_sharded=False)

    def agreed() -> None:
        sharing.clear()
        with sharing.backward(is_last=True):
            sharing.network(ids, torch.ones_like(ids)).square().sum().backward()
        sharing.all_fit(fits=True)
        sharing.exchange()

    return agreed


def member(rank: int, folder: str, turns: int, steps: int) -> None:
    """One of the processes; rank 0 writes the seconds of every turn."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    ways = {kind: step_of(kind) for kind in ("ours", "ddp")}
    lines = []
    for turn in range(turns + 1):
        for kind, step in ways.items():
            dist.barrier()
            began = time.perf_counter()
            for _ in range(steps):
                step()
            # The first turn builds buckets and buffers.
            if turn:
                lines.append(f"{kind} {(time.perf_counter() - began) / steps}")
    if rank == 0:
        Path(folder, "seconds").write_text("\n".join(lines))
    dist.barrier()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from torch.multiprocessing.spawn import spawn

    turns, steps = (5, 5) if arguments.quick else (20, 10)
    with tempfile.TemporaryDirectory() as folder:
        spawn(member, args=(folder, turns, steps), nprocs=WORLD)
        pairs = [line.split() for line in Path(folder, "seconds").read_text().splitlines()]
    found = {kind: [float(seconds) for name, seconds in pairs if name == kind] for kind in ("ours", "ddp")}
    for kind, seconds in found.items():
        print(f"{kind:5} median {1e3 * statistics.median(seconds):7.2f} ms a step, least {1e3 * min(seconds):7.2f}")
    ratios = [ours / ddp for ours, ddp in zip(found["ours"], found["ddp"], strict=True)]
    row = {
        "ours_over_ddp": round(statistics.median(ratios), 3),
        "ours_over_ddp_least": round(min(found["ours"]) / min(found["ddp"]), 3),
        "turns": turns,
        "quick": arguments.quick,
    }
    publish(row, RESULTS / "gradient_exchange.jsonl")


if __name__ == "__main__":
    main()
