"""The onnxruntime engine: what it opens, what it refuses, and that it runs without torch."""

import subprocess
import sys

import numpy as np
import pytest

from lft_ray.engines.onnx_build import build_onnx
from lft_ray.engines.onnx_engine import GRAPH, OnnxEngine
from lft_ray.engines.torch_engine import TorchEngine
from lft_ray.errors import BundleError
from tests.engines.networks import TEXTS, trained


def test_open_requires_the_precision_of_the_folder(tiny_bert, tmp_path):
    build_onnx(trained(tmp_path / "trained", tiny_bert), tmp_path / "int8", precision="int8")
    with pytest.raises(BundleError, match="was built at 'int8', not at 'fp32'"):
        OnnxEngine.open(tmp_path / "int8", precision="fp32", threads=1)
    with pytest.raises(BundleError, match="no precision 'bf16'"):
        build_onnx(tmp_path / "trained", tmp_path / "x", precision="bf16")


@pytest.mark.parametrize("content", [b"", b"no graph", None])
def test_a_damaged_graph_is_refused(content, tiny_bert, tmp_path):
    build_onnx(trained(tmp_path / "trained", tiny_bert), tmp_path / "onnx", precision="fp32")
    whole = (tmp_path / "onnx" / GRAPH).read_bytes()
    (tmp_path / "onnx" / GRAPH).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(BundleError, match="cannot be opened by onnxruntime"):
        OnnxEngine.open(tmp_path / "onnx", precision="fp32", threads=1)


def test_running_loads_neither_torch_nor_transformers(tiny_bert, tmp_path):
    build_onnx(trained(tmp_path / "trained", tiny_bert), tmp_path / "onnx", precision="int8")
    code = (
        "import sys\nfrom pathlib import Path\nfrom lft_ray.engines.onnx_engine import OnnxEngine\n"
        f"runner = OnnxEngine.open(Path({str(tmp_path / 'onnx')!r}), precision='int8', threads=1)\n"
        "assert runner.run(runner.encode(['good'])).shape == (1, 3)\n"
        "print(*({'torch', 'transformers', 'onnx', 'sklearn', 'scipy', 'ray'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == []


@pytest.mark.parametrize(("precision", "atol"), [("fp32", 1e-4), ("int8", 1.5)])
def test_pairs_have_the_logits_of_torch_alone_and_in_any_batch(tiny_bert, tmp_path, precision, atol):
    trained(tmp_path / "trained", tiny_bert, segments=2, spread=10.0)
    build_onnx(tmp_path / "trained", tmp_path / "onnx", precision=precision)
    pairs = list(zip(TEXTS, [*TEXTS[1:], TEXTS[0]], strict=True))
    torch_runner = TorchEngine.open(tmp_path / "trained", precision="fp32", threads=1)
    expected = torch_runner.run(torch_runner.encode(pairs))
    runner = OnnxEngine.open(tmp_path / "onnx", precision=precision, threads=1)
    together = runner.run(runner.encode(pairs))
    np.testing.assert_allclose(together, expected, atol=atol)
    alone = np.concatenate([runner.run(runner.encode([pair])) for pair in pairs])
    np.testing.assert_allclose(alone, together, atol=1e-4 if precision == "fp32" else 0.5)
    swapped = runner.run(runner.encode([(second, first) for first, second in pairs]))
    assert np.abs(swapped - together).max() > 1e-2
