"""Which rows make a step, and how a step is cut to fit. In: token lengths. Out: row numbers; at last two tensors.

A step's rows do not depend on how many workers share it: every text is in exactly one worker's micro-batches, so the
sum of losses over the step, divided by its text count, is the same for 1 and N workers.
"""

import heapq
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["Inputs", "collate", "eval_batches", "micro_batches", "plan_steps"]

Rows = NDArray[np.int64]


class Inputs(Protocol):
    """A split as a network reads it: token ids (`lft_ray.data.encode.TokenFile`), or what frozen layers made of them.

    Attributes:
        targets: int64 [n], or float32 [n, c].
    """

    targets: NDArray[Any]

    def __len__(self) -> int:
        """Rows."""

    def lengths(self, max_length: int) -> Rows:
        """Tokens of each row after the cut, int64 [n]: what batches are planned by."""

    def tensors(self, rows: Rows, max_length: int, pad_id: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """What the network is called with for some rows: inputs [k, ...] and mask [k, t]."""


def plan_steps(lengths: Rows, batch_size: int, *, seed: int, epoch: int, window: int = 32) -> list[Rows]:
    """Plan one epoch: every row once, in steps of texts of nearly the same length.

    Rows are shuffled, sorted by length within windows of ``window`` steps, cut into steps, and the steps shuffled:
    padding falls below a tenth, and the order stays random.

    Args:
        lengths: tokens of each row, int [n].
        batch_size: texts a step, over all workers; one step of the epoch may have fewer.
        seed: of the trial.
        epoch: counted from 0; each has an order of its own.
        window: steps that are sorted together.

    Returns:
        ceil(n / batch_size) arrays of row numbers.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    steps: list[Rows] = []
    for start in range(0, len(order), batch_size * window):
        rows = order[start : start + batch_size * window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        steps += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    return [steps[number] for number in generator.permutation(len(steps))]


def micro_batches(rows: Rows, lengths: Rows, micro_batch_tokens: int, *, rank: int = 0, world: int = 1) -> list[Rows]:
    """Cut one worker's share of a step into forward passes, longest texts first.

    Args:
        rows: row numbers of the step.
        lengths: tokens of EVERY row of the split, int [n].
        micro_batch_tokens: most padded tokens of a forward pass; a longer text is a pass of its own.
        rank: this worker.
        world: number of workers; the token load is shared evenly.

    Returns:
        Row numbers; over all ranks each row of the step once. Empty for a rank without a row.
    """
    longest_first = rows[np.argsort(-lengths[rows], kind="stable")]
    if world > 1:
        longest_first = longest_first[_shares(lengths[longest_first], world) == rank]
    return _cut(longest_first, lengths, micro_batch_tokens)


def eval_batches(lengths: Rows, micro_batch_tokens: int, rank: int = 0, world: int = 1) -> list[Rows]:
    """Cut a whole split into forward passes, longest texts first; over all ranks each row once.

    Args:
        lengths: tokens of each row, int [n].
        micro_batch_tokens: most padded tokens of a forward pass.
        rank: this worker.
        world: number of workers.
    """
    batches = _cut(np.argsort(-lengths, kind="stable"), lengths, micro_batch_tokens)
    if world == 1:
        return batches
    loads = np.array([len(batch) * lengths[batch[0]] for batch in batches], dtype=np.int64)
    owners = _shares(loads, world)
    return [batch for batch, owner in zip(batches, owners, strict=True) if owner == rank]


def collate(ids: list[NDArray[Any]], pad_id: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Pad texts to the longest.

    Args:
        ids: n arrays of token ids.
        pad_id: what stands behind a shorter text.

    Returns:
        input_ids and attention_mask (1 = token), both int64 [n, t].
    """
    import torch

    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
    padded = np.full(mask.shape, pad_id, dtype=np.int64)
    if ids:
        padded[mask] = np.concatenate(ids)
    return torch.from_numpy(padded), torch.from_numpy(mask.astype(np.int64))


def _cut(longest_first: Rows, lengths: Rows, micro_batch_tokens: int) -> list[Rows]:
    batches: list[Rows] = []
    start = 0
    while start < len(longest_first):
        width = max(int(lengths[longest_first[start]]), 1)
        count = max(micro_batch_tokens // width, 1)
        batches.append(longest_first[start : start + count])
        start += count
    return batches


def _shares(loads: NDArray[np.int64], world: int) -> Rows:
    """Give each load to the worker that has least so far (fewest texts among equals); the loads come largest first."""
    heap = [(0, 0, rank) for rank in range(world)]
    owners = np.empty(len(loads), dtype=np.int64)
    for number, load in enumerate(loads.tolist()):
        tokens, count, rank = heapq.heappop(heap)
        owners[number] = rank
        heapq.heappush(heap, (tokens + load, count + 1, rank))
    return owners
