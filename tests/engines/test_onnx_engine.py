"""The onnxruntime engine: answers as the network does, without torch, for all architectures that can be exported."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lft_ray.config import ModelSpec
from lft_ray.engines.onnx_build import NotExportableError, build_onnx
from lft_ray.engines.onnx_engine import GRAPH, OnnxEngine
from lft_ray.engines.torch_engine import TorchEngine
from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import TextNetwork, build, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from tests.tiny_models import FOREIGN, write_tiny_foreign

TEXTS = ["the team won the match", "stocks fell as the bank raised its rate", "x", "a warm and funny book " * 9]


def trained(folder: Path, source: Path, *, max_length: int = 32, spread: float = 40.0, outlier: float = 0.0) -> Path:
    spec = ModelSpec(base=str(source))
    size = model_sizes([spec])[0]
    network = build(find_base(spec), size, 3)
    network.head.weight.data *= spread
    if outlier:
        # A feature that hardly varies, as a probe on standardised features weighs it.
        layers: Any = network.backbone.layers
        layers[-1].output_norm.weight.data[0] = 1e-4
        network.head.weight.data[:, 0] = outlier
    card = EngineCard(engine="torch", model_size="tiny:2", outputs=3, max_length=max_length, pooling=size.pooling)
    save(network, folder, tokenizer_from=source, card=card)
    return folder


def answers(engine, folder: Path, precision: str) -> np.ndarray:
    runner = engine.open(folder, precision=precision, threads=1)
    return runner.run(runner.encode(TEXTS))


@pytest.mark.parametrize("base", ["tiny_bert", "tiny_gpt"])
def test_fp32_is_the_network_and_int8_is_close(base, request, tmp_path):
    source = trained(tmp_path / "trained", request.getfixturevalue(base))
    expected = answers(TorchEngine, source, "fp32")
    for precision, tolerance in (("fp32", 1e-4), ("int8", 0.1 * float(np.abs(expected).max()))):
        card = build_onnx(source, tmp_path / precision, precision=precision)
        assert (card.engine, card.precision, card.outputs) == ("onnxruntime", precision, 3)
        got = answers(OnnxEngine, tmp_path / precision, precision)
        assert np.abs(got - expected).max() < tolerance
    assert not np.array_equal(got, expected)
    sizes = [(tmp_path / precision / GRAPH).stat().st_size for precision in ("fp32", "int8")]
    assert sizes[1] < sizes[0]
    assert sorted(path.name for path in (tmp_path / "int8").iterdir()) == ["engine.json", GRAPH, "tokenizer.json"]


def test_int8_leaves_the_head_as_it_is(tiny_bert, tmp_path):
    source = trained(tmp_path / "trained", tiny_bert, outlier=4000.0)
    expected = answers(TorchEngine, source, "fp32")
    build_onnx(source, tmp_path / "int8", precision="int8")
    spread = float(np.ptp(expected, axis=0).max())
    assert np.abs(answers(OnnxEngine, tmp_path / "int8", "int8") - expected).max() < 0.1 * spread


@pytest.mark.parametrize("family", sorted(FOREIGN))
def test_architectures_of_transformers_are_exported_alike(family, tmp_path):
    (tmp_path / "base").mkdir()
    source = trained(tmp_path / "trained", write_tiny_foreign(tmp_path / "base", family))
    build_onnx(source, tmp_path / "onnx", precision="fp32")
    assert np.abs(answers(OnnxEngine, tmp_path / "onnx", "fp32") - answers(TorchEngine, source, "fp32")).max() < 1e-4


def test_a_folder_is_opened_at_the_precision_it_was_built_at(tiny_bert, tmp_path):
    build_onnx(trained(tmp_path / "trained", tiny_bert), tmp_path / "int8", precision="int8")
    with pytest.raises(BundleError, match="was built at 'int8', not at 'fp32'"):
        OnnxEngine.open(tmp_path / "int8", precision="fp32", threads=1)
    with pytest.raises(BundleError, match="no precision 'bf16'"):
        build_onnx(tmp_path / "trained", tmp_path / "x", precision="bf16")


def test_more_tokens_than_positions_are_refused(tiny_gpt, tmp_path):
    source = trained(tmp_path / "trained", tiny_gpt, max_length=257)
    with pytest.raises(BundleError, match="max_length 257, but its network reads 256"):
        build_onnx(source, tmp_path / "onnx", precision="fp32")


def test_a_graph_that_fits_only_what_was_traced_is_refused(tiny_bert, tmp_path, monkeypatch):
    source = trained(tmp_path / "trained", tiny_bert)
    monkeypatch.setattr(TextNetwork, "features", lambda self, ids, mask: _frozen_length(self, ids, mask))
    with pytest.raises(
        NotExportableError, match=r"bert (differs from the network on a batch of \(1, 1\)|cannot be run)"
    ):
        build_onnx(source, tmp_path / "onnx", precision="fp32")


def _frozen_length(network: TextNetwork, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A mean over as many tokens as Python saw, which a trace writes down as a constant."""
    return network.backbone(ids, mask).sum(1) / len(ids[0].tolist())


def test_an_operation_without_a_counterpart_is_named(tiny_bert, tmp_path, monkeypatch):
    source = trained(tmp_path / "trained", tiny_bert)
    monkeypatch.setattr(
        TextNetwork, "features", lambda self, ids, mask: torch.special.i1e(self.backbone(ids, mask)[:, 0])
    )
    with pytest.raises(NotExportableError, match="bert cannot be exported to ONNX"):
        build_onnx(source, tmp_path / "onnx", precision="fp32")


@pytest.mark.parametrize("content", [b"", b"no graph", None])
def test_a_damaged_graph_is_refused(content, tiny_bert, tmp_path):
    build_onnx(trained(tmp_path / "trained", tiny_bert), tmp_path / "onnx", precision="fp32")
    whole = (tmp_path / "onnx" / GRAPH).read_bytes()
    (tmp_path / "onnx" / GRAPH).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(BundleError, match="cannot be opened by onnxruntime"):
        OnnxEngine.open(tmp_path / "onnx", precision="fp32", threads=1)


def test_answering_loads_neither_torch_nor_transformers(tiny_bert, tmp_path):
    build_onnx(trained(tmp_path / "trained", tiny_bert), tmp_path / "onnx", precision="int8")
    code = (
        "import sys\nfrom pathlib import Path\nfrom lft_ray.engines.onnx_engine import OnnxEngine\n"
        f"runner = OnnxEngine.open(Path({str(tmp_path / 'onnx')!r}), precision='int8', threads=1)\n"
        "assert runner.run(runner.encode(['good'])).shape == (1, 3)\n"
        "print(*({'torch', 'transformers', 'onnx', 'sklearn', 'scipy', 'ray'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == []
