"""From a trained network to a folder that onnxruntime opens: export, quantise, compare. Imports torch, when called.

In: a folder that `lft_ray.models.network.save` wrote. Out: ``model.onnx``, ``tokenizer.json``, ``engine.json``.

The plain graph of the tracing exporter, not the fused one of transformers: on 2 cores int8 without fusion is 14% faster
on texts. int8 is onnxruntime's dynamic quantisation: weights of matrix products in int8 with one scale a column,
activations with a scale of their own at every run. One scale a column keeps .991 of 1,000 labels, one scale a matrix
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

from lft_ray.engines.onnx_engine import GRAPH, OnnxEngine
from lft_ray.errors import BundleError, first_line
from lft_ray.models.convert import TOKENIZER
from lft_ray.models.engine_card import EngineCard

if TYPE_CHECKING:
    from lft_ray.models.network import TextNetwork

__all__ = ["NotExportableError", "build_onnx"]

OPSET = 17
_HEAD = "/head/"
"""How the exporter begins the names of what `TextNetwork.head` does."""
_TRACED = (2, 8)
"""Texts and tokens of the batch that is traced. One text is shorter, so that the mask is not left out."""
_COMPARED = ((1, 1), (1, 5), (3, 17))
_LONGEST_COMPARED = 512
_LARGEST_CHANGE = 1e-3
"""Of a logit, against the network's own, relative to the largest: float32 sums in another order differ by 1e-5."""


class NotExportableError(BundleError):
    """The network cannot be written as a graph, or the graph answers otherwise."""


def build_onnx(source: Path, target: Path, *, precision: str, max_length: int | None = None) -> EngineCard:
    """Write the onnxruntime folder of a trained network, and try its float32 graph against the network.

    Args:
        source: folder of the torch engine.
        target: an empty folder, or one that is made.
        precision: fp32 or int8.
        max_length: as for `Engine.open`.

    Returns:
        The card of the new folder.

    Raises:
        BundleError: the source cannot be opened, or precision or length is not one it has.
        NotExportableError: its architecture cannot be exported.
    """
    from lft_ray.models.network import load

    if precision not in OnnxEngine.precisions:
        raise BundleError(f"engine onnxruntime has no precision {precision!r}: expected fp32 or int8")
    card = EngineCard.read(source).cut_at(max_length)
    network = load(source).eval()
    limit = network.shape.max_tokens
    if limit is not None and card.max_length > limit:
        raise BundleError(f"{source} says max_length {card.max_length}, but its network reads {limit} tokens")
    written = card.model_copy(update={"engine": OnnxEngine.name, "precision": "fp32", "pad_id": network.pad_id})
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / TOKENIZER, target / TOKENIZER)
    _export(network, target / GRAPH)
    written.write(target)
    _compare(network, target, written.max_length)
    if precision == "int8":
        _quantise(target / GRAPH)
        written = written.model_copy(update={"precision": precision})
        written.write(target)
    return written


def _export(network: "TextNetwork", path: Path) -> None:
    import torch

    ids, mask = _batch(*_TRACED, network.pad_id)
    axes = {"input_ids": {0: "n", 1: "t"}, "attention_mask": {0: "n", 1: "t"}, "logits": {0: "n"}}
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                network,
                (torch.from_numpy(ids), torch.from_numpy(mask)),
                str(path),
                # The tracing exporter: 1.3 s for MiniLM, and nothing that the newer one finds is faster to run.
                dynamo=False,
                opset_version=OPSET,
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_axes=axes,
            )
    except Exception as error:  # whatever an operation without a counterpart raises
        raise NotExportableError(
            f"{network.shape.family} cannot be exported to ONNX: {type(error).__name__}: {first_line(error)}"
        ) from error


def _compare(network: "TextNetwork", folder: Path, max_length: int) -> None:
    """Refuse a graph that fits only batches of the traced shape: a traced size must not have become a constant."""
    import torch

    try:
        runner = OnnxEngine.open(folder, precision="fp32", threads=1)
        for texts, tokens in (*_COMPARED, (2, _LONGEST_COMPARED)):
            ids, mask = _batch(texts, min(tokens, max_length), network.pad_id)
            with torch.inference_mode():
                expected = network(torch.from_numpy(ids), torch.from_numpy(mask)).float().numpy()
            got = runner.run([row[kept == 1].tolist() for row, kept in zip(ids, mask, strict=True)])
            change = float(np.abs(got - expected).max() / max(1.0, float(np.abs(expected).max())))
            if not change <= _LARGEST_CHANGE:
                raise NotExportableError(
                    f"the ONNX graph of {network.shape.family} answers a batch of {ids.shape} otherwise than the "
                    f"network: a logit is off by {change:.2g}"
                )
    except NotExportableError:
        raise
    except Exception as error:  # onnxruntime refuses an operation, or a shape
        raise NotExportableError(
            f"the ONNX graph of {network.shape.family} cannot be run: {first_line(error)}"
        ) from error


def _quantise(path: Path) -> None:
    """Round the weights of matrix products in place, but for the head's.

    The head stays in float32, as in bf16: it costs nothing, and where it began as a probe on standardised features it
    has a weight of 220 for one that hardly varies, beside which all others round to zero. MiniLM on AG News has a
    macro-F1 of .898 in fp32, .900 in int8 and .824 with the head in int8, too.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    head = [node.name for node in nodes if node.name.startswith(_HEAD)]
    with tempfile.TemporaryDirectory(prefix="lft-int8-", dir=path.parent) as folder, _quiet():
        small = Path(folder) / GRAPH
        quantize_dynamic(
            str(path),
            str(small),
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul"],
            # A Gemm is made a MatMul first, under a name of its own.
            nodes_to_exclude=[*head, *(f"{name}_MatMul" for name in head)],
        )
        small.replace(path)


def _batch(texts: int, tokens: int, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Made-up ids and their mask, int64 [texts, tokens]; each text is shorter than the one before it."""
    ids = np.arange(texts * tokens, dtype=np.int64).reshape(texts, tokens) % 20 + 7
    lengths = np.maximum(1, tokens - 3 * np.arange(texts))
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    return np.where(mask == 1, ids, pad_id), mask


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' advice off the screen."""
    loud = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(loud)
