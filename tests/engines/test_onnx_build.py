"""ONNX export: same logits as the network, int8 close to it, graphs that differ refused."""

import numpy as np
import pytest
import torch

from lft_ray.engines.onnx_build import NotExportableError, build_onnx
from lft_ray.engines.onnx_engine import GRAPH, OnnxEngine
from lft_ray.engines.torch_engine import TorchEngine
from lft_ray.errors import BundleError
from lft_ray.models.network import TextNetwork
from tests.engines.networks import logits_of, trained
from tests.tiny_models import FOREIGN, write_tiny_foreign


@pytest.mark.parametrize("base", ["tiny_bert", "tiny_gpt"])
def test_fp32_is_the_network_and_int8_is_close(base, request, tmp_path):
    source = trained(tmp_path / "trained", request.getfixturevalue(base))
    expected = logits_of(TorchEngine, source, "fp32")
    for precision, tolerance in (("fp32", 1e-4), ("int8", 0.1 * float(np.abs(expected).max()))):
        card = build_onnx(source, tmp_path / precision, precision=precision)
        assert (card.engine, card.precision, card.outputs) == ("onnxruntime", precision, 3)
        got = logits_of(OnnxEngine, tmp_path / precision, precision)
        assert np.abs(got - expected).max() < tolerance
    assert not np.array_equal(got, expected)
    sizes = [(tmp_path / precision / GRAPH).stat().st_size for precision in ("fp32", "int8")]
    assert sizes[1] < sizes[0]
    assert sorted(path.name for path in (tmp_path / "int8").iterdir()) == ["engine.json", GRAPH, "tokenizer.json"]


def test_int8_does_not_quantise_the_head(tiny_bert, tmp_path):
    source = trained(tmp_path / "trained", tiny_bert, outlier=4000.0)
    expected = logits_of(TorchEngine, source, "fp32")
    build_onnx(source, tmp_path / "int8", precision="int8")
    spread = float(np.ptp(expected, axis=0).max())
    assert np.abs(logits_of(OnnxEngine, tmp_path / "int8", "int8") - expected).max() < 0.1 * spread


@pytest.mark.parametrize("family", sorted(FOREIGN))
def test_architectures_of_transformers_are_exported_alike(family, tmp_path):
    (tmp_path / "base").mkdir()
    source = trained(tmp_path / "trained", write_tiny_foreign(tmp_path / "base", family))
    build_onnx(source, tmp_path / "onnx", precision="fp32")
    got, expected = logits_of(OnnxEngine, tmp_path / "onnx", "fp32"), logits_of(TorchEngine, source, "fp32")
    assert np.abs(got - expected).max() < 1e-5


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
