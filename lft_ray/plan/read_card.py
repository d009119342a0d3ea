"""The rows of an experiment with their card, and how its bases read the texts. In: task, data, bases. Out: rows.

How the bases read the texts is known as soon as their files are here: to ``lft check`` and ``lft plan`` where they have
been used before, to a search always.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from lft_ray.config import DataSpec, TaskSpec
from lft_ray.config.experiment import ModelSpec
from lft_ray.data.fit import fit_problems, script_problems, token_fits
from lft_ray.data.prepare import Inspected, inspect_rows, sample_texts
from lft_ray.records import DatasetRecord
from lft_ray.run.folder import RunFolder
from lft_ray.tasks.find import head_of
from lft_ray.texts import whole

__all__ = ["note_fits", "read_card", "with_fits"]


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
    texts = list(map(whole, sample_texts(train, seed=0)))
    fits = token_fits(texts, models, max_length, in_windows=head_of(task.kind) == "tokens")
    found = [*fit_problems(fits), *script_problems(texts, models, fits)]
    card = read.card.replace(tokens=fits, problems=[*read.card.problems, *found])
    return replace(read, card=card)


def with_fits(dataset: DatasetRecord, models: Sequence[ModelSpec], max_length: int) -> DatasetRecord:
    """Add to the problems of prepared data how the bases that are on this machine read it."""
    texts = list(map(whole, dataset.sample_texts))
    fits = token_fits(texts, models, max_length, in_windows=head_of(dataset.task_kind) == "tokens")
    found = [*fit_problems(fits), *script_problems(texts, models, fits)]
    new = [problem for problem in found if problem not in dataset.problems]
    return dataset.replace(problems=[*dataset.problems, *new])


def note_fits(
    run: RunFolder,
    dataset: DatasetRecord,
    models: Sequence[ModelSpec],
    max_length: int,
    log: Callable[[str], None],
) -> DatasetRecord:
    """`with_fits`, told and written to the run, whose report then has it."""
    noted = with_fits(dataset, models, max_length)
    for problem in noted.problems[len(dataset.problems) :]:
        log(f"{problem.severity}: {problem.message}; {problem.fix}")
    if noted != dataset:
        run.put("dataset.json", noted)
    return noted
