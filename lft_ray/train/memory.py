"""Out of memory is a fact about a configuration, not a crash. In: what torch raised. Out: whether that was it, and why.

Torch says so in two ways: `torch.OutOfMemoryError` on a device, and a plain RuntimeError of its processor allocator.
"""

import torch

__all__ = ["HALVINGS", "OutOfMemoryError", "free_cached", "is_out_of_memory"]

HALVINGS = 2
"""Times that a step is tried again in forward passes of half the tokens. A quarter of the activations that still does
not fit is a model that does not fit: weights, gradients and moments stay as they are."""
_CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"


class OutOfMemoryError(Exception):
    """The configuration does not fit into memory, however small the forward passes."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch (or Python) ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_ALLOCATOR in str(error)


def free_cached(device: str) -> None:
    """Give the blocks that torch keeps for later back to the device."""
    if device != "cpu":
        torch.cuda.empty_cache()
