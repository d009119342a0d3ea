"""Compute a network's logits, features and scores on one split. In: a network and tokens. Out: float32 rows in order.

Rows are batched sorted by length, so that there is almost no padding, and written back in the order of the split. With
several processes, each computes its share and all receive all rows. Never trains, never reads text.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lft_ray.data.batches import Inputs, Pieces, eval_batches
from lft_ray.models.network import HeadedNetwork, TextNetwork, at_precision
from lft_ray.tasks.base import Task
from lft_ray.train.device.memory import agree_on_oom
from lft_ray.train.device.parallel import is_sharded
from lft_ray.train.device.precision import autocast, matmul_precision
from lft_ray.train.device.process_group import Group, current_group

__all__ = ["Batching", "Scores", "extract_features", "predict", "score"]

ComputePrecision = Literal["fp32", "autocast", "bf16"]
"""fp32: float32 throughout. autocast: float32 weights under bf16 autocast, as in training. bf16: weights cast to bf16,
as in serving."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How rows become tensors.

    Attributes:
        max_length: maximum sequence length in tokens; longer texts are truncated.
        micro_batch_tokens: padded tokens per forward pass.
        pad_id: token id of the padding.
        device: torch device.
        dtype: compute precision of training: "fp32" or "bf16" (autocast over float32 weights).
    """

    max_length: int
    micro_batch_tokens: int
    pad_id: int
    device: str = "cpu"
    dtype: str = "fp32"


@dataclass(frozen=True, slots=True)
class Scores:
    """Metrics of the task, and its mean loss."""

    metrics: dict[str, float]
    loss: float


def predict(
    network: nn.Module,
    inputs: Inputs,
    batching: Batching,
    precision: ComputePrecision = "fp32",
    *,
    group: Group | None = None,
) -> NDArray[np.float32]:
    """What the model says of each row, float32 [n, k], in order, equal on every process of ``group``.

    That is its logits, unless rows are read in pieces. The group is by default that of this trial.

    ``bf16`` (weights cast to bf16, as in serving) applies only to a whole `TextNetwork`.
    """
    if precision == "bf16" and isinstance(network, TextNetwork):
        network = at_precision(copy.deepcopy(network), precision)
    autocast_precision = "bf16" if precision == "autocast" else "fp32"
    return _run(network, network, inputs, batching, autocast_precision, None, group or current_group())


def extract_features(
    network: HeadedNetwork,
    inputs: Inputs,
    batching: Batching,
    rows: NDArray[np.int64] | None = None,
    *,
    group: Group | None = None,
) -> NDArray[np.float32]:
    """Pooled features float32 [n, hidden] in row order (or in the order of ``rows``), in the training precision."""
    return _run(network, network.features, inputs, batching, batching.dtype, rows, group or current_group())


def score(task: Task, targets: NDArray[Any], logits: NDArray[np.float32]) -> Scores:
    """Score what the model says of each row [n, k] against the split's truth."""
    return Scores(task.metrics(targets, logits), task.judged_loss(targets, logits))


def _run(
    network: nn.Module,
    forward: Callable[..., Any],
    inputs: Inputs,
    batching: Batching,
    autocast_precision: str,
    rows: NDArray[np.int64] | None,
    group: Group,
) -> NDArray[np.float32]:
    lengths = inputs.lengths(batching.max_length)
    if rows is not None:
        lengths = lengths[rows]
    was_training = network.training
    network.eval()
    output: NDArray[np.float32] | None = None
    parts = eval_batches(lengths, batching.micro_batch_tokens, group.rank, group.world)
    with ExitStack() as modes:
        for mode in _modes(network, batching, autocast_precision, group):
            modes.enter_context(mode)
        for part in _padded(parts, network, group):
            # An empty part still needs a forward pass with some row: sharded layers are gathered in every pass.
            batch = part if len(part) else np.zeros(1, np.int64)
            read, mask = inputs.tensors(batch if rows is None else rows[batch], batching.max_length, batching.pad_id)
            result = forward(read.to(batching.device), mask.to(batching.device)).float().cpu().numpy()
            if isinstance(inputs, Pieces):
                result = inputs.summary(batch, result)
            if output is None:
                output = np.zeros((len(lengths), result.shape[1]), np.float32)
            output[part] = result[: len(part)]
    network.train(was_training)
    if is_sharded(network):
        # FSDP leaves the outermost weights gathered after a forward pass; the next steps would use these stale copies.
        cast("Any", network).reshard()
    if group.world > 1:
        # A process without rows learns the width from the others.
        width = int(group.all_max(0 if output is None else output.shape[1]))
        output = group.sum_rows(np.zeros((len(lengths), width), np.float32) if output is None else output)
    if output is None:
        return np.zeros((0, 0), np.float32)
    return inputs.merged(output) if isinstance(inputs, Pieces) else output


def _modes(
    network: nn.Module, batching: Batching, precision: str, group: Group
) -> Iterator[AbstractContextManager[Any]]:
    if is_sharded(network):
        # Weights gathered in inference mode cannot be used in the next training step.
        yield torch.no_grad()
    else:
        yield torch.inference_mode()
        if group.world > 1:
            yield agree_on_oom(group)
    yield matmul_precision(batching.device)
    yield autocast(batching.device, precision)


def _padded(parts: list[NDArray[np.int64]], network: nn.Module, group: Group) -> list[NDArray[np.int64]]:
    """Parts of this process, padded with empty ones if all processes must make the same number of passes."""
    missing = int(group.all_max(len(parts))) - len(parts) if is_sharded(network) else 0
    return [*parts, *[np.zeros(0, np.int64)] * missing]
