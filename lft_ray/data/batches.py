"""Plan training steps and micro-batches. In: token lengths. Out: row indices, and padded tensors (`collate`).

The rows of a step do not depend on the number of workers: every text is in exactly one worker's micro-batches, so the
sum of losses over the step, divided by its text count, is the same for 1 and N workers. Never reads texts.
"""

import heapq
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["Inputs", "Pieces", "collate", "eval_batches", "micro_batches", "plan_steps"]

Rows = NDArray[np.int64]


class Inputs(Protocol):
    """A split as a network reads it: token ids (`lft_ray.data.encode.TokenFile`) or cached frozen-layer activations.

    Attributes:
        targets: what the loss compares the outputs with: class indices int64 [n], or float32 [n, c] of 0 and 1.
    """

    targets: NDArray[Any]

    @property
    def truth(self) -> NDArray[Any]:
        """What rows are judged by, as the task encodes it: ``targets``, unless rows are read in pieces."""

    def __len__(self) -> int:
        """Number of rows n."""

    def lengths(self, max_length: int) -> Rows:
        """Token count of each row after truncation, int64 [n]; batches are planned by it."""

    def tensors(self, rows: Rows, max_length: int, pad_id: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Network inputs for k rows: inputs [k, ...] and attention mask [k, t]."""


@runtime_checkable
class Pieces(Inputs, Protocol):
    """Inputs of which several belong to one row of the data, such as the windows of a context."""

    def summary(self, rows: Rows, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the model says of k pieces, [k, width], from its outputs of their tokens [k, t, c]."""

    def merged(self, summaries: NDArray[np.float32]) -> NDArray[np.float32]:
        """What it says of the rows of the data [n, width], from the summaries of all pieces."""


def plan_steps(lengths: Rows, batch_size: int, *, seed: int, epoch: int, window: int = 32) -> list[Rows]:
    """Plan one epoch: every row once, in steps of texts of similar length.

    Rows are shuffled, sorted by length within windows of ``window`` steps, cut into steps, and the steps shuffled:
    padding falls below a tenth of the tokens, and the order stays random.

    Args:
        lengths: token count of each row, int [n].
        batch_size: texts per step, over all workers; one step of the epoch may have fewer.
        seed: random seed of the trial.
        epoch: epoch number, from 0; each epoch has its own order.
        window: number of steps that are sorted by length together.

    Returns:
        ceil(n / batch_size) arrays of row indices.
    """
    # Seeded by (seed, epoch): a resumed trial plans the same steps without replaying earlier epochs.
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    steps: list[Rows] = []
    for start in range(0, len(order), batch_size * window):
        rows = order[start : start + batch_size * window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        steps += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    return [steps[number] for number in generator.permutation(len(steps))]


def micro_batches(rows: Rows, lengths: Rows, micro_batch_tokens: int, *, rank: int = 0, world: int = 1) -> list[Rows]:
    """Split one worker's share of a step into micro-batches, longest texts first.

    Args:
        rows: row indices of the step.
        lengths: token count of EVERY row of the split, int [n].
        micro_batch_tokens: maximum padded tokens per forward pass; a longer text gets a pass of its own.
        rank: rank of this worker.
        world: number of workers; tokens are balanced between them.

    Returns:
        Row indices of each micro-batch; over all ranks each row of the step occurs once. Empty for a rank without rows.
    """
    longest_first = rows[np.argsort(-lengths[rows], kind="stable")]
    if world > 1:
        longest_first = longest_first[_assign(lengths[longest_first], world) == rank]
    return _split_by_budget(longest_first, lengths, micro_batch_tokens)


def eval_batches(lengths: Rows, micro_batch_tokens: int, rank: int = 0, world: int = 1) -> list[Rows]:
    """Split a whole data split into evaluation batches, longest texts first; over all ranks each row occurs once.

    Args:
        lengths: token count of each row, int [n].
        micro_batch_tokens: maximum padded tokens per forward pass.
        rank: rank of this worker.
        world: number of workers.
    """
    batches = _split_by_budget(np.argsort(-lengths, kind="stable"), lengths, micro_batch_tokens)
    if world == 1:
        return batches
    # The cost of a batch is its padded size: its rows times its longest row, which comes first.
    loads = np.array([len(batch) * lengths[batch[0]] for batch in batches], dtype=np.int64)
    owners = _assign(loads, world)
    return [batch for batch, owner in zip(batches, owners, strict=True) if owner == rank]


def collate(ids: list[NDArray[Any]], pad_id: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Pad token ids on the right to the longest text.

    Args:
        ids: n arrays of token ids.
        pad_id: token id used as padding.

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


def _split_by_budget(longest_first: Rows, lengths: Rows, micro_batch_tokens: int) -> list[Rows]:
    batches: list[Rows] = []
    start = 0
    while start < len(longest_first):
        width = max(int(lengths[longest_first[start]]), 1)
        count = max(micro_batch_tokens // width, 1)
        batches.append(longest_first[start : start + count])
        start += count
    return batches


def _assign(loads: NDArray[np.int64], world: int) -> Rows:
    """Assign each load, largest first, to the least loaded worker (ties: fewest items); return its rank, int64 [n]."""
    heap = [(0, 0, rank) for rank in range(world)]
    owners = np.empty(len(loads), dtype=np.int64)
    for number, load in enumerate(loads.tolist()):
        tokens, count, rank = heapq.heappop(heap)
        owners[number] = rank
        heapq.heappush(heap, (tokens + load, count + 1, rank))
    return owners
