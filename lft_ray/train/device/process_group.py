"""The processes that train one trial together. In: torch.distributed as whoever started us set it up. Never starts it.

One process is the common case: then nothing here communicates.
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
    """This process's place among the ``world`` processes of the trial.

    Attributes:
        rank: 0 .. world - 1; only rank 0 reports and saves.
        world: number of processes.
        device: where tensors must live to be exchanged: ``cuda`` for nccl, else ``cpu``.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        """Whether this process reports and saves."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes, the same list on each of them."""
        if self.world == 1:
            return [float(v) for v in values]
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(v) for v in tensor.tolist()]

    def largest(self, value: float) -> float:
        """The greatest of the processes' values, the same on each of them."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return float(tensor.item())

    def merge(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum float32 [n, k] over the processes; exact when each row is zero on all processes but one."""
        if self.world == 1:
            return rows
        tensor = torch.from_numpy(rows).to(self.device)
        dist.all_reduce(tensor)
        merged: NDArray[np.float32] = tensor.cpu().numpy()
        return merged

    def from_lead(self, value: Any) -> Any:
        """Rank 0's ``value`` on every process (a small picklable object)."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device(self.device))
        return box[0]


def current_group() -> Group:
    """The group of this process; a group of one when torch.distributed is not initialised."""
    if not (dist.is_available() and dist.is_initialized()):
        return Group()
    return Group(dist.get_rank(), dist.get_world_size(), "cuda" if dist.get_backend() == "nccl" else "cpu")
