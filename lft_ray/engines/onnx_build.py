"""Export a trained network for onnxruntime: export, compare, quantise. Imports torch when called.

In: a folder written by `lft_ray.models.network.save`. Out: ``model.onnx``, ``tokenizer.json``, ``engine.json``. Never
serves a graph whose logits differ from the network's.

The plain graph of the tracing exporter is used, not the fused one of transformers: on 2 cores int8 without fusion is
14% faster. int8 is onnxruntime's dynamic quantisation: MatMul weights in int8 with one scale per column, activations
with a scale computed at every run. One scale per column preserves .991 of 1,000 predicted labels, one scale per matrix
.986.
"""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lft_ray.engines.onnx_engine import GRAPH, OnnxEngine, input_names
from lft_ray.errors import BundleError, first_line
from lft_ray.models.convert import TOKENIZER
from lft_ray.models.engine_card import TOKENS, EngineCard
from lft_ray.models.tokens import Pair

if TYPE_CHECKING:
    import torch

    from lft_ray.models.network import TextNetwork

__all__ = ["NotExportableError", "build_onnx", "quiet"]

OPSET = 17
_HEAD = "/head/"
"""Part of the exporter's names for the nodes of `TextNetwork.head`."""
_TRACED_SHAPE = (2, 8)
"""Texts and tokens of the traced batch. One text is shorter, so that the mask is not optimised away."""
_COMPARED_SHAPES = ((1, 1), (1, 5), (3, 17))
"""Texts and tokens of the batches on which graph and network are compared."""
_MAX_COMPARED_TOKENS = 512
_MAX_LOGIT_CHANGE = 1e-3
"""Allowed difference of a logit relative to the largest: summing float32 in another order changes it by 1e-5."""


class NotExportableError(BundleError):
    """The network cannot be exported as a graph, or the graph returns other logits."""


def build_onnx(source: Path, target: Path, *, precision: str, max_length: int | None = None) -> EngineCard:
    """Write the onnxruntime folder of a trained network, and compare its float32 graph with the network.

    Args:
        source: folder of the torch engine.
        target: empty folder, created if missing.
        precision: fp32 or int8.
        max_length: maximum tokens per text, at most the card's; None: the card's.

    Returns:
        The card of the new folder.

    Raises:
        BundleError: the source cannot be opened, or the precision or the length is not supported.
        NotExportableError: the architecture cannot be exported.
    """
    from lft_ray.models.network import load

    if precision not in OnnxEngine.precisions:
        raise BundleError(f"engine onnxruntime has no precision {precision!r}: expected fp32 or int8")
    card = EngineCard.read(source).with_max_length(max_length)
    network = load(source).eval()
    limit = network.shape.max_tokens
    if limit is not None and card.max_length > limit:
        raise BundleError(f"{source} says max_length {card.max_length}, but its network reads {limit} tokens")
    written = card.model_copy(update={"engine": OnnxEngine.name, "precision": "fp32", "pad_id": network.pad_id})
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / TOKENIZER, target / TOKENIZER)
    _export(network, target / GRAPH, card.segments)
    written.write(target)
    _compare(network, target, written)
    if precision == "int8":
        _quantise(target / GRAPH)
        written = written.model_copy(update={"precision": precision})
        written.write(target)
    return written


def _export(network: "TextNetwork", path: Path, segments: int) -> None:
    import torch

    ids, mask, types = _batch(*_TRACED_SHAPE, network.pad_id)
    names = input_names(segments)
    arrays = [torch.from_numpy(array) for array in (ids, mask, types)[: len(names)]]
    per_token = {1: "t"} if network.pooling == TOKENS else {}
    axes = {name: {0: "n", 1: "t"} for name in names} | {"logits": {0: "n", **per_token}}
    try:
        with quiet(), torch.no_grad():
            torch.onnx.export(
                network if segments == 1 else _of_pairs(network),
                tuple(arrays),
                str(path),
                # The tracing exporter takes 1.3 s for MiniLM, and graphs of the newer one are not faster to run.
                dynamo=False,
                opset_version=OPSET,
                input_names=names,
                output_names=["logits"],
                dynamic_axes=axes,
            )
    except Exception as error:  # operators without an ONNX counterpart raise many types
        raise NotExportableError(
            f"{network.shape.family} cannot be exported to ONNX: {type(error).__name__}: {first_line(error)}"
        ) from error


def _of_pairs(network: "TextNetwork") -> "torch.nn.Module":
    """The network with segment numbers as an input of their own."""
    import torch

    class OfPairs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(torch.stack([ids, types], dim=-1), mask)
            return logits

    return OfPairs()


def _compare(network: "TextNetwork", folder: Path, card: EngineCard) -> None:
    """Reject a graph that is only right for the traced shape, because tracing turned a size into a constant."""
    import torch

    try:
        runner = OnnxEngine.open(folder, precision="fp32", threads=1)
        for texts, tokens in (*_COMPARED_SHAPES, (2, _MAX_COMPARED_TOKENS)):
            ids, mask, types = _batch(texts, min(tokens, card.max_length), network.pad_id)
            read = ids if card.segments == 1 else np.stack([ids, types], axis=-1)
            with torch.inference_mode():
                expected = network(torch.from_numpy(read), torch.from_numpy(mask)).float().numpy()
            rows = zip(ids, types, mask == 1, strict=True)
            got = runner.forward([Pair(row[real].tolist(), kinds[real].tolist()) for row, kinds, real in rows])
            change = float(np.abs(got - expected).max() / max(1.0, float(np.abs(expected).max())))
            # "not <=" also rejects NaN.
            if not change <= _MAX_LOGIT_CHANGE:
                raise NotExportableError(
                    f"the ONNX graph of {network.shape.family} differs from the network on a batch of {ids.shape}: "
                    f"a logit is off by {change:.2g}"
                )
    except NotExportableError:
        raise
    except Exception as error:  # onnxruntime rejects an operator or a shape
        raise NotExportableError(
            f"the ONNX graph of {network.shape.family} cannot be run: {first_line(error)}"
        ) from error


def _quantise(path: Path) -> None:
    """Quantise MatMul weights to int8 in place, except those of the head.

    The head stays in float32, as in bf16: its cost is negligible, and a head initialised as a linear probe on
    standardised features can have a weight of 220 for a feature that hardly varies, next to which all others round to
    zero. MiniLM on AG News has a macro-F1 of .898 in fp32, .900 in int8 and .824 with the head in int8 as well.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    head = [node.name for node in nodes if _HEAD in node.name]
    with tempfile.TemporaryDirectory(prefix="lft-int8-", dir=path.parent) as folder, quiet():
        quantised = Path(folder) / GRAPH
        quantize_dynamic(
            str(path),
            str(quantised),
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul"],
            # The quantiser first converts a Gemm to a MatMul with this suffix.
            nodes_to_exclude=[*head, *(f"{name}_MatMul" for name in head)],
        )
        quantised.replace(path)


def _batch(texts: int, tokens: int, pad_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Synthetic token ids, mask and segment numbers, int64 [texts, tokens]; each text is shorter than the one before.

    The second half of each text is the second segment.
    """
    ids = np.arange(texts * tokens, dtype=np.int64).reshape(texts, tokens) % 20 + 7
    lengths = np.maximum(1, tokens - 3 * np.arange(texts))[:, None]
    mask = (np.arange(tokens) < lengths).astype(np.int64)
    types = (np.arange(tokens) >= (lengths + 1) // 2).astype(np.int64) * mask
    return np.where(mask == 1, ids, pad_id), mask, types


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings of exporters and converters, which are about their own parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
