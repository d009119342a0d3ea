"""The torch engine: precisions, threads, limits, imports. What all engines share is tested in tests/contracts."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from lft_ray.config import ModelSpec
from lft_ray.engines.torch_engine import TorchEngine, fast_fp32_matmul
from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import build, load, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes

TEXTS = ["the team won the match", "stocks fell as the bank raised its rate", "x", "a warm and funny book " * 9]


def saved(folder, source, *, max_length=32, outputs=3):
    spec = ModelSpec(base=str(source))
    size = model_sizes([spec])[0]
    card = EngineCard(engine="torch", model_size="tiny:2", outputs=outputs, max_length=max_length, pooling=size.pooling)
    save(build(find_base(spec), size, outputs), folder, tokenizer_from=source, card=card)
    return folder


def test_fp32_logits_equal_the_networks(tiny_bert, tmp_path):
    folder = saved(tmp_path, tiny_bert)
    runner = TorchEngine.open(folder, precision="fp32", threads=1)
    network = load(folder).eval()
    for text, row in zip(TEXTS, runner.run(runner.encode(TEXTS)), strict=True):
        ids = torch.tensor(runner.encode([text]))
        expected = network(ids, torch.ones_like(ids)).detach().numpy()[0]
        assert np.abs(row - expected).max() < 1e-5


def test_bf16_weights_are_half_as_large(tiny_bert, tmp_path):
    folder = saved(tmp_path, tiny_bert)
    runner = TorchEngine.open(folder, precision="bf16", threads=1)
    kinds = {name.split(".")[0]: weights.dtype for name, weights in runner._network.named_parameters()}
    assert kinds == {"backbone": torch.bfloat16, "head": torch.float32}


def test_more_tokens_than_positions_are_refused(tiny_gpt, tmp_path):
    folder = saved(tmp_path, tiny_gpt, max_length=257)
    with pytest.raises(BundleError, match="max_length 257, but its network reads 256"):
        TorchEngine.open(folder, precision="fp32", threads=1)


def test_a_thread_of_its_own_computes_with_the_threads_that_were_set(tiny_bert, tmp_path):
    TorchEngine.open(saved(tmp_path, tiny_bert), precision="fp32", threads=1)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [1]


def test_fast_float32_stays_float32():
    assert fast_fp32_matmul() in {"medium", "highest"}
    left, right = torch.randn(32, 384), torch.randn(384, 64)
    exact = left.double() @ right.double()
    assert float(((left @ right).double() - exact).abs().max() / exact.abs().max()) < 1e-5


def test_a_network_engine_never_loads_transformers(tiny_bert, tmp_path):
    saved(tmp_path, tiny_bert)
    code = (
        "import sys\nfrom pathlib import Path\nfrom lft_ray.engines.torch_engine import TorchEngine\n"
        f"TorchEngine.open(Path({str(tmp_path)!r}), precision='bf16', threads=1).encode(['a'])\n"
        "print(*({'transformers', 'sklearn', 'ray'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == []
