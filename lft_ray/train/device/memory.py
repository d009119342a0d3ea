"""Out of memory is a fact about a configuration, not a crash. In: what torch raised. Out: whether that was it, and why.

Torch says so in two ways: `torch.OutOfMemoryError` on a device, and a plain RuntimeError of its processor allocator.
Light to import (the search reads `USABLE`): torch loads when a function is called.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from lft_ray.errors import first_line

if TYPE_CHECKING:
    from lft_ray.train.device.process_group import Group

__all__ = [
    "ELSEWHERE",
    "HALVINGS",
    "USABLE",
    "OutOfMemoryError",
    "cap_memory",
    "fits_everywhere",
    "free_cached",
    "is_out_of_memory",
    "memory_bytes",
]

ELSEWHERE = "another of its processes ran out of memory"
HALVINGS = 2
"""Times that a step is tried again in forward passes of half the tokens. A quarter of the activations that still does
not fit is a model that does not fit: weights, gradients and moments stay as they are."""
USABLE = 0.9
"""Share of a worker's memory that trials may allocate; the rest is for gaps, and for CUDA's own where several share."""
_CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"


class OutOfMemoryError(Exception):
    """The configuration does not fit into memory, however small the forward passes."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch (or Python) ran out of memory."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_ALLOCATOR in str(error)


def free_cached(device: str) -> None:
    """Give the blocks that torch keeps for later back to the device."""
    import torch

    if device != "cpu":
        torch.cuda.empty_cache()


@contextmanager
def fits_everywhere(group: "Group") -> Iterator[None]:
    """Let all processes of a group know where one of them runs out of memory inside, where nothing may be exchanged.

    Raises:
        OutOfMemoryError: on every process.
    """
    reason = ""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = first_line(error)
    if group.largest(float(bool(reason))) > 0:
        raise OutOfMemoryError(f"out of memory outside of the forward passes: {reason or ELSEWHERE}")


def cap_memory(device: str, share: float | str) -> None:
    """Let torch allocate a trial's share of its device and no more: what it takes beyond is its neighbours'."""
    import torch

    if device != "cpu":
        is_packed = isinstance(share, float) and share < 1.0
        torch.cuda.set_per_process_memory_fraction(USABLE * float(share) if is_packed else 1.0, device)


def memory_bytes(device: str) -> float:
    """Memory that this process may use: its share of its device, or what is free of the machine's."""
    import torch

    if device != "cpu":
        share = torch.cuda.get_per_process_memory_fraction(device)
        return float(torch.cuda.get_device_properties(device).total_memory) * share
    # Workers of one trial on one machine divide what is free among them.
    return float(psutil.virtual_memory().available) / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
