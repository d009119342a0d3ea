"""The data card of an experiment, with how its bases read the texts. In: an experiment. Out: a `DataCard`."""

from lft_ray.config import Experiment
from lft_ray.data.check import DataCard
from lft_ray.data.fit import fit_problems, token_fits
from lft_ray.data.prepare import inspect_rows, sample_texts

__all__ = ["read_card"]


def read_card(experiment: Experiment) -> DataCard:
    """Read and check the data, and tokenise a sample of it with each base that is on this machine.

    Raises:
        ConfigError: the task or the encoding is unknown.
    """
    read = inspect_rows(experiment.task, experiment.data)
    train = read.splits.get("train")
    if train is None or not train.texts:
        return read.card
    fits = token_fits(sample_texts(train, seed=0), experiment.models, experiment.training.max_length)
    return read.card.replace(tokens=fits, problems=[*read.card.problems, *fit_problems(fits)])
