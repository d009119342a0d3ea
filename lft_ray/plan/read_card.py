"""The rows of an experiment with their card, and how its bases read the texts. In: task, data, bases. Out: rows."""

from collections.abc import Sequence
from dataclasses import replace

from lft_ray.config import DataSpec, TaskSpec
from lft_ray.config.experiment import ModelSpec
from lft_ray.data.fit import fit_problems, token_fits
from lft_ray.data.prepare import Inspected, inspect_rows, sample_texts
from lft_ray.texts import whole

__all__ = ["read_card"]


def read_card(task: TaskSpec, data: DataSpec, models: Sequence[ModelSpec], max_length: int) -> Inspected:
    """Read and check the data, and tokenise a sample of it with each base that is on this machine.

    Args:
        task: kind and columns.
        data: files and split.
        models: bases.
        max_length: tokens at which training cuts.

    Raises:
        ConfigError: the task or the encoding is unknown.
    """
    read = inspect_rows(task, data)
    train = read.splits.get("train")
    if train is None or not len(train):
        return read
    fits = token_fits(list(map(whole, sample_texts(train, seed=0))), models, max_length)
    card = read.card.replace(tokens=fits, problems=[*read.card.problems, *fit_problems(fits)])
    return replace(read, card=card)
