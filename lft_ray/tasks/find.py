"""Find the class of a task, and make it. In: ``task.kind``, facts. Out: class or instance, or an error."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lft_ray.errors import ConfigError, first_line
from lft_ray.plugins import resolve
from lft_ray.tasks import TASKS
from lft_ray.tasks.base import Head, Task
from lft_ray.tasks.facts import LabelFacts
from lft_ray.wire import PredictionKind

__all__ = ["find_task", "head_of", "make_task", "prediction_kind"]

_DATA_VERBS = (
    "columns", "allows_empty", "learn", "of", "identity", "counts", "report_missing", "unify", "check", "check_other",
    "check_repeats", "check_split", "encode", "strata",
)  # fmt: skip


def find_task(kind: str) -> type[Task]:
    """Return the class of a task, built in or a plug-in.

    Raises:
        ConfigError: it is unknown, cannot be imported, or lacks what the data stage needs.
    """
    task: Any = resolve(kind, TASKS, where="task.kind")
    fix = "see the guide for task plug-ins; a class built on lft_ray.tasks.classification.Classification has them all"
    lacking = [verb for verb in _DATA_VERBS if not hasattr(task, verb)]
    if lacking:
        raise ConfigError(f"task.kind: {kind} is no task for this version: it lacks {', '.join(lacking)}", fix=fix)
    if hasattr(task, "label_names"):
        # Its names would be ignored without a word, and another column might be read.
        message = f"task.kind: {kind} sets label_names, which this version does not read"
        raise ConfigError(message, fix='set columns, such as (TEXT, Column("label", NAMES, "names", "truth"))')
    found: type[Task] = task
    return found


def head_of(kind: str) -> Head:
    """Return what the head of a network reads for a task.

    Raises:
        ConfigError: there is no such task.
    """
    found: type[Task] = resolve(kind, TASKS, where="task.kind")
    return getattr(found, "head", "vector")


def make_task(kind: str, facts: Mapping[str, Any]) -> Task:
    """Make a task with what it learned from the train rows.

    Args:
        kind: built-in name or ``package.module:Name``.
        facts: fields of the task's facts, such as ``labels``.

    Raises:
        ConfigError: there is no such task, or these are not its facts.
    """
    found: type[Task] = resolve(kind, TASKS, where="task.kind")
    learned = getattr(found, "facts_type", LabelFacts)
    try:
        return found.of(learned.model_validate(dict(facts)))
    except ValidationError as error:
        raise ConfigError(f"these are not the facts of task {kind}: {first_line(error)}", fix="start over") from error


def prediction_kind(task: Task | str) -> PredictionKind:
    """Return what the predictions of a task consist of: labels, where a plug-in does not say otherwise.

    Args:
        task: the task, or ``task.kind``.

    Raises:
        ConfigError: there is no such task.
    """
    of = resolve(task, TASKS, where="task.kind") if isinstance(task, str) else task
    found: PredictionKind = getattr(of, "predicts", "labels")
    return found
