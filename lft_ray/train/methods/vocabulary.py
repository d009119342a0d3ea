"""Train with only those rows of the token embedding that occur in the data. In: a loop job. Out: as for `loop.train`.

The gradient of a text touches only the rows of its own tokens, but AdamW, the gradient norm, the exchange between
processes and the saved state process the whole table: 11.7 of the 13.7 million weights of a one-layer MiniLM, where
1,600 sentences of SST-2 contain 6,258 of 30,522 tokens. Rows of unseen tokens have no gradient and moments of zero;
AdamW only applies weight decay to them, which is a single factor known in advance. The trained network is therefore the
same up to rounding. Never drops a token that occurs in a split.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lft_ray.data.encode import TokenFile
from lft_ray.data.windows import WindowTokens
from lft_ray.models.encoder import Transformer
from lft_ray.models.network import TextNetwork
from lft_ray.records import CurvePoint, TrialStatus
from lft_ray.train.loop.job import LoopJob, LoopResult
from lft_ray.train.loop.loop import train
from lft_ray.train.loop.optim import rate_factors
from lft_ray.train.loop.schedule import Schedule

__all__ = ["seen_tokens", "train_seen_tokens"]

Tokens = TokenFile | WindowTokens
MAX_SEEN_SHARE = 0.8
"""Largest share of seen tokens at which the table is still reduced. A choice: only the rest of the table is saved."""


def train_seen_tokens(
    job: LoopJob, report: Callable[[CurvePoint], None], should_stop: Callable[[], bool]
) -> LoopResult:
    """`loop.train` with an embedding of the tokens in train and validation; the whole table is restored afterwards.

    Args:
        job: as for `loop.train`. Unless the run ends as done, the weights of its network are undefined.
        report: as for `loop.train`.
        should_stop: as for `loop.train`.
    """
    assert isinstance(job.network, TextNetwork)
    backbone, splits = job.network.backbone, (job.train, job.validation)
    if not isinstance(backbone, Transformer):
        return train(job, report, should_stop)
    table = backbone.tokens
    seen = seen_tokens(cast("list[Tokens]", splits), job.pad_id, table.num_embeddings)
    if len(seen) > MAX_SEEN_SHARE * table.num_embeddings:
        return train(job, report, should_stop)
    backbone.tokens = nn.Embedding(
        len(seen), table.embedding_dim, _weight=table.weight.detach()[torch.from_numpy(seen)]
    )
    try:
        result = train(_renumbered(job, seen, table.num_embeddings), report, should_stop)
        if result.status is TrialStatus.DONE:
            _write_back(job, table, seen, result.curve[-1].step)
    finally:
        backbone.tokens = table
    return result


def seen_tokens(splits: Sequence[Tokens], pad_id: int, vocab: int) -> NDArray[np.int64]:
    """Ids below ``vocab`` of the padding token and of all tokens in the splits, ascending and unique; int64 [u]."""
    is_seen = np.zeros(vocab, dtype=bool)
    is_seen[pad_id] = True
    for split in splits:
        is_seen[split.values] = True
    return np.flatnonzero(is_seen)


def _renumbered(job: LoopJob, seen: NDArray[np.int64], vocab: int) -> LoopJob:
    numbers = np.zeros(vocab, dtype=np.uint32)
    numbers[seen] = np.arange(len(seen))
    train, validation = cast("tuple[Tokens, Tokens]", (job.train, job.validation))
    return replace(
        job,
        train=train.renumbered(numbers),
        validation=validation.renumbered(numbers),
        pad_id=int(numbers[job.pad_id]),
    )


def _write_back(job: LoopJob, table: nn.Embedding, seen: NDArray[np.int64], steps: int) -> None:
    """Update the whole table as the steps of the run would have: decay for all rows, trained values for seen ones."""
    config, training = job.config, job.training
    schedule = Schedule.of(training, rows=len(job.train), batch_size=config.batch_size or 1, epochs=config.epochs or 1)
    name = "backbone.tokens.weight"
    factor = rate_factors((n for n, _ in job.network.named_parameters()), config.layer_decay or 1.0)[name]
    with torch.no_grad():
        table.weight.mul_(schedule.decay_factor(factor * (config.learning_rate or 0.0), training.weight_decay, steps))
        table.weight[torch.from_numpy(seen)] = job.network.get_parameter(name)
