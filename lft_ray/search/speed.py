"""How fast this machine multiplies matrices, in half a second: for a plan, before anything is profiled. Measures only.

The rate is that of one core, in FLOPs per processor second, so that a busy machine does not look slow.
"""

import time

__all__ = ["matmul_flops_per_core_s"]

_SHAPE = (256, 384, 1536)
"""Rows, width and inner width of MiniLM's feed-forward for a batch of 256 tokens."""


def matmul_flops_per_core_s(*, seconds: float = 0.1, repeats: int = 5) -> float:
    """FLOPs per processor second of an fp32 product of MiniLM's shape in NumPy, on one thread: the best repeat.

    Args:
        seconds: processor time of one repeat.
        repeats: how often; the best counts, since whatever disturbs a repeat makes it slower.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    rows, width, inner = _SHAPE
    rng = np.random.default_rng(0)
    left = rng.standard_normal((rows, width), dtype=np.float32)
    right = rng.standard_normal((width, inner), dtype=np.float32)
    out = np.empty((rows, inner), dtype=np.float32)
    rates = []
    # Two spinning BLAS threads on two shared cores count 5x the processor seconds of one.
    with threadpool_limits(1):
        np.matmul(left, right, out=out)
        for _ in range(repeats):
            begun, count = time.process_time(), 0
            while (used := time.process_time() - begun) < seconds:
                np.matmul(left, right, out=out)
                count += 1
            rates.append(2.0 * rows * width * inner * count / used)
    return max(rates)
