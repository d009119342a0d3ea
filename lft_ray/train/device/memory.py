"""Treat running out of memory as a property of the configuration, not as a crash.

In: an exception from torch. Out: whether memory ran out, and the reason. Torch reports it in two ways:
`torch.OutOfMemoryError` on a GPU, and a plain RuntimeError from its CPU allocator. Light to import (the search reads
`USABLE`): torch is imported when a function is called. Never retries anything.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lft_ray.errors import first_line
from lft_ray.system.limits import available_memory_bytes

if TYPE_CHECKING:
    from lft_ray.train.device.process_group import Group

__all__ = [
    "MAX_HALVINGS",
    "OTHER_PROCESS",
    "USABLE",
    "OutOfMemoryError",
    "agree_on_oom",
    "cap_memory",
    "empty_cache",
    "is_out_of_memory",
    "memory_bytes",
]

OTHER_PROCESS = "another process of this trial ran out of memory"
MAX_HALVINGS = 2
"""How often a step is retried with forward passes of half as many tokens. If a quarter of the activations still does
not fit, the model does not fit: weights, gradients and optimizer moments take the same memory in any case."""
USABLE = 0.9
"""Share of a worker's memory that trials may allocate. The rest is for fragmentation, and for the CUDA context of each
process where several trials share a GPU."""
_CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"


class OutOfMemoryError(Exception):
    """The configuration does not fit into memory, even with the smallest forward passes."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch (or Python) ran out of memory."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_ALLOCATOR in str(error)


def empty_cache(device: str) -> None:
    """Return the memory that torch has cached but does not use to the device."""
    import torch

    if device != "cpu":
        torch.cuda.empty_cache()


@contextmanager
def agree_on_oom(group: "Group") -> Iterator[None]:
    """Raise on all processes of a group when one of them runs out of memory inside this context.

    The code inside must not communicate between processes: a process that failed would leave the others waiting.

    Raises:
        OutOfMemoryError: on every process, if memory ran out on one of them.
    """
    reason = ""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        reason = first_line(error)
    if group.all_max(float(bool(reason))) > 0:
        raise OutOfMemoryError(f"out of memory outside the training passes: {reason or OTHER_PROCESS}")


def cap_memory(device: str, share: float | str) -> None:
    """Limit torch to the trial's share of its GPU, so that trials packed onto the same GPU do not starve each other."""
    import torch

    if device != "cpu":
        is_packed = isinstance(share, float) and share < 1.0
        torch.cuda.set_per_process_memory_fraction(USABLE * float(share) if is_packed else 1.0, device)


def memory_bytes(device: str) -> float:
    """Bytes that this process may use: its share of its GPU, or its part of the machine's free memory."""
    import torch

    if device != "cpu":
        share = torch.cuda.get_per_process_memory_fraction(device)
        return float(torch.cuda.get_device_properties(device).total_memory) * share
    # Workers of one trial on the same machine share the free memory equally.
    return float(available_memory_bytes()) / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
