"""Choose the number format a trial computes in. In: ``training.precision``, the device. Out: ``fp32`` or ``bf16``.

Weights and optimizer moments stay float32 in training: bf16 means autocast. Never changes a weight.
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
"""Largest error at which "medium" float32 matmul still counts as float32. Measured 8.6e-7 on Zen 5, where it is 2.3
times as fast as the default; hardware that really rounds to bf16 shows 3.8e-3 and is ruled out."""


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


def training_precision(requested: str, device: str) -> Precision:
    """Resolve ``auto``, and check that the device supports the precision.

    Args:
        requested: ``training.precision`` of the experiment: "auto", "fp32" or "bf16".
        device: "cpu" or "cuda...".

    Raises:
        ConfigError: bf16 is requested on a CUDA device without native bf16.
    """
    if requested == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    if requested == "bf16" and device.startswith("cuda") and not native_bf16(device):
        raise ConfigError(
            "training.precision is bf16, but this GPU has no native bf16: expected auto or fp32",
            fix="--set training.precision=auto",
        )
    return "bf16" if requested == "bf16" else "fp32"


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """Context for a forward pass: bf16 autocast for "bf16", otherwise a no-op."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device_type=device.split(":")[0], dtype=torch.bfloat16)


@contextmanager
def matmul_precision(device: str) -> Iterator[None]:
    """Set float32 matmul to "medium" where that is as exact as float32 on this device; restore the setting afterwards.

    MKL runs at less than half speed on AMD: 100-108 GFLOP/s at "highest" against 235 at "medium" on one Zen 5 core.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if _medium_error(device) < MEDIUM_ERROR_LIMIT else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def _medium_error(device: str) -> float:
    """Largest error of one matrix product at "medium", relative to its largest entry."""
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
