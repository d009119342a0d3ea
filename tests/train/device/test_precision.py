import pytest
import torch

from lft_ray.train.device.precision import autocast, matmul_precision, native_bf16, training_precision


def test_auto_precision_follows_the_cpu():
    assert training_precision("auto", "cpu") == ("bf16" if native_bf16("cpu") else "fp32")
    assert training_precision("fp32", "cpu") == "fp32"
    assert training_precision("bf16", "cpu") == "bf16"


def test_matmul_precision_is_restored_and_exact():
    before = torch.get_float32_matmul_precision()
    left, right = torch.randn(64, 384), torch.randn(384, 64)
    exact = left.double() @ right.double()
    with matmul_precision("cpu"):
        got = left @ right
    assert torch.get_float32_matmul_precision() == before
    assert (got - exact).abs().max() / exact.abs().max() < 1e-5
    with pytest.raises(ZeroDivisionError), matmul_precision("cpu"):
        _ = 1 / 0
    assert torch.get_float32_matmul_precision() == before


def test_autocast_applies_to_bf16_only():
    product = torch.nn.Linear(4, 4)
    with autocast("cpu", "bf16"):
        assert product(torch.ones(1, 4)).dtype is torch.bfloat16
    with autocast("cpu", "fp32"):
        assert product(torch.ones(1, 4)).dtype is torch.float32
