"""The onnxruntime engine: what it opens, what it refuses, and that it runs without torch."""

import os
import subprocess
import sys

import pytest

from lft_ray.engines.onnx_build import build_onnx
from lft_ray.engines.onnx_engine import GRAPH, OnnxEngine
from lft_ray.errors import BundleError
from tests.engines.networks import trained


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


def test_running_reports_to_nobody_and_leaves_no_file(tiny_bert, tmp_path):
    build_onnx(trained(tmp_path / "trained", tiny_bert), tmp_path / "onnx", precision="fp32")
    code = (
        "from pathlib import Path\nfrom lft_ray.engines.onnx_engine import OnnxEngine\n"
        f"OnnxEngine.open(Path({str(tmp_path / 'onnx')!r}), precision='fp32', threads=1)"
    )
    own = tmp_path / "own"
    own.mkdir()
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"HOME": str(own), "TMPDIR": str(own)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
    assert list(own.rglob("*")) == []
