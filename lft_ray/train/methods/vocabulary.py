"""Train with the rows of the token embedding that the data can reach, and no others. In and out: a loop job.

A text's gradient touches the rows of its own tokens, yet AdamW, the clip norm, the exchange between processes and the
saved state walk the whole table: 11.7 of the 13.7 million weights of a one-layer MiniLM, where 1,600 sentences of SST-2
have 6,258 of 30,522 tokens. Rows that no text has get no gradient and keep moments of zero; all that AdamW does to them
is decay, which is one factor, known beforehand. So the trained network is the same to rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lft_ray.data.encode import TokenFile
from lft_ray.models.encoder import Transformer
from lft_ray.models.network import TextNetwork
from lft_ray.records import CurvePoint, TrialStatus
from lft_ray.train.loop.job import LoopJob, LoopResult
from lft_ray.train.loop.loop import train
from lft_ray.train.loop.optim import rate_factors
from lft_ray.train.loop.schedule import Schedule

__all__ = ["seen_tokens", "train_seen_tokens"]

WORTH_IT = 0.8
"""Greatest share of the table that is still cut out. A choice: all that is saved is the rest of the table."""


def train_seen_tokens(
    job: LoopJob, report: Callable[[CurvePoint], None], should_stop: Callable[[], bool]
) -> LoopResult:
    """`loop.train` on a table of the tokens of train and validation; the network has its whole table back afterwards.

    Args:
        job: as for `loop.train`. After a run that is not done, the weights of its network mean nothing.
        report: as for `loop.train`.
        should_stop: as for `loop.train`.
    """
    assert isinstance(job.network, TextNetwork)
    backbone, splits = job.network.backbone, (job.train, job.validation)
    if not isinstance(backbone, Transformer):
        return train(job, report, should_stop)
    table = backbone.tokens
    met = seen_tokens(cast("list[TokenFile]", splits), job.pad_id, table.num_embeddings)
    if len(met) > WORTH_IT * table.num_embeddings:
        return train(job, report, should_stop)
    backbone.tokens = nn.Embedding(len(met), table.embedding_dim, _weight=table.weight.detach()[torch.from_numpy(met)])
    try:
        result = train(_renumbered(job, met, table.num_embeddings), report, should_stop)
        if result.status is TrialStatus.DONE:
            _write_back(job, table, met, result.curve[-1].step)
    finally:
        backbone.tokens = table
    return result


def seen_tokens(splits: Sequence[TokenFile], pad_id: int, vocab: int) -> NDArray[np.int64]:
    """Token ids below ``vocab`` that the splits and the padding have, ascending, each once; int64 [u]."""
    is_met = np.zeros(vocab, dtype=bool)
    is_met[pad_id] = True
    for split in splits:
        is_met[split.values] = True
    return np.flatnonzero(is_met)


def _renumbered(job: LoopJob, met: NDArray[np.int64], vocab: int) -> LoopJob:
    numbers = np.zeros(vocab, dtype=np.uint32)
    numbers[met] = np.arange(len(met))
    train, validation = cast("tuple[TokenFile, TokenFile]", (job.train, job.validation))
    return replace(
        job,
        train=train.renumbered(numbers),
        validation=validation.renumbered(numbers),
        pad_id=int(numbers[job.pad_id]),
    )


def _write_back(job: LoopJob, table: nn.Embedding, met: NDArray[np.int64], steps: int) -> None:
    """Give the whole table what the steps of the run would have left in it."""
    config, training = job.config, job.training
    schedule = Schedule.of(training, rows=len(job.train), batch_size=config.batch_size or 1, epochs=config.epochs or 1)
    name = "backbone.tokens.weight"
    factor = rate_factors((n for n, _ in job.network.named_parameters()), config.layer_decay or 1.0)[name]
    with torch.no_grad():
        table.weight.mul_(schedule.decay_left(factor * (config.learning_rate or 0.0), training.weight_decay, steps))
        table.weight[torch.from_numpy(met)] = job.network.get_parameter(name)
