"""Which number format a trial computes in. In: the wish of the file and the device. Out: ``fp32`` or ``bf16``.

Weights and optimizer moments stay float32 in training: bf16 is autocast. Never changes a weight.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from lft_ray.errors import ConfigError

__all__ = ["autocast", "matmul_precision", "native_bf16", "training_precision"]

Precision = Literal["fp32", "bf16"]
MEDIUM_ERROR_LIMIT = 1e-5
"""Greatest error at which "medium" float32 matmul still counts as float32. Measured 8.6e-7 on Zen 5, where it is 2.3
times the default; hardware that truly rounds to bf16 shows 3.8e-3 and is refused."""


@cache
def native_bf16(device: str) -> bool:
    """Whether ``device`` ("cpu" or "cuda...") multiplies bf16 in hardware; emulation is slower than fp32."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


def training_precision(wish: str, device: str) -> Precision:
    """Resolve ``auto``.

    Raises:
        ConfigError: bf16 is asked for on a CUDA device without it.
    """
    if wish == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    if wish == "bf16" and device.startswith("cuda") and not native_bf16(device):
        raise ConfigError(
            "training.precision is bf16 but this GPU does not compute bf16: expected auto or fp32",
            fix="--set training.precision=auto",
        )
    return "bf16" if wish == "bf16" else "fp32"


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """The context a forward pass runs in: bf16 autocast, or nothing."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device_type=device.split(":")[0], dtype=torch.bfloat16)


@contextmanager
def matmul_precision(device: str) -> Iterator[None]:
    """Float32 matmul at "medium" inside, where that is as exact as float32 here; the setting before comes back after.

    MKL runs below half speed on AMD: measured 100-108 GFLOP/s at "highest" against 235 at "medium" on one Zen 5 core.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if _medium_error(device) < MEDIUM_ERROR_LIMIT else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def _medium_error(device: str) -> float:
    """Greatest error of one product at "medium", relative to its greatest entry."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(512, 384, generator=generator), torch.randn(384, 256, generator=generator))
    exact = left.double() @ right.double()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        got = (left.to(device) @ right.to(device)).cpu().double()
    finally:
        torch.set_float32_matmul_precision(before)
    return float((got - exact).abs().max() / exact.abs().max())
