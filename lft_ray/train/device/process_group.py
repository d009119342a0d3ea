"""Collective operations between the processes of one trial. In: torch.distributed, already initialised. Out: values
that are equal on all processes. Never starts torch.distributed.

A single process is the common case: then nothing here communicates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

__all__ = ["Group", "current_group"]


@dataclass(frozen=True, slots=True)
class Group:
    """The process group of a trial, as seen from this process.

    Attributes:
        rank: rank of this process, 0 .. world - 1; only rank 0 reports and saves.
        world: number of processes.
        device: device of tensors to be exchanged: ``cuda`` for nccl, else ``cpu``.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @property
    def is_lead(self) -> bool:
        """Whether this is rank 0, the process that reports and saves."""
        return self.rank == 0

    def all_sum(self, values: Sequence[float]) -> list[float]:
        """Elementwise sums over the processes, equal on each of them."""
        if self.world == 1:
            return [float(v) for v in values]
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(v) for v in tensor.tolist()]

    def all_max(self, value: float) -> float:
        """Maximum over the processes, equal on each of them."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return float(tensor.item())

    def sum_rows(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum float32 [n, k] over the processes; exact if each row is nonzero on one process only."""
        if self.world == 1:
            return rows
        tensor = torch.from_numpy(rows).to(self.device)
        dist.all_reduce(tensor)
        merged: NDArray[np.float32] = tensor.cpu().numpy()
        return merged

    def broadcast(self, value: Any) -> Any:
        """Rank 0's ``value`` on every process (a small picklable object)."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device(self.device))
        return box[0]


def current_group() -> Group:
    """Group of this process; a group of one if torch.distributed is not initialised."""
    if not (dist.is_available() and dist.is_initialized()):
        return Group()
    return Group(dist.get_rank(), dist.get_world_size(), "cuda" if dist.get_backend() == "nccl" else "cpu")
