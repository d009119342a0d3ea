"""Whether an experiment can run as it is written, asked before anything is spent. In: an experiment. Out: errors."""

from lft_ray.config import Experiment
from lft_ray.errors import ConfigError
from lft_ray.methods import DISTIL
from lft_ray.models.base import check_lengths, find_size, model_sizes
from lft_ray.models.resolve import find_base
from lft_ray.plugins import resolve
from lft_ray.tasks import TASKS

__all__ = ["check_distil", "check_usable"]


def check_usable(experiment: Experiment) -> None:
    """Find every base model, compare its positions with ``training.max_length``, and the methods with the task.

    Raises:
        ModelError: naming what is unknown, out of reach or too short.
        ConfigError: the task cannot be distilled.
    """
    check_distil(experiment)
    sizes = model_sizes(experiment.models)
    check_lengths(sizes, experiment.training.max_length)
    for name in {size.base: size.name for size in sizes if not size.is_linear}.values():
        find_base(find_size(experiment.models, name)[0])


def check_distil(experiment: Experiment) -> None:
    """Refuse distillation of a task that does not say how answers are compared.

    Raises:
        ConfigError: ``training.method`` lists distil and the task has no ``distil_loss``.
    """
    kind = experiment.task.kind
    if DISTIL in experiment.training.method and not hasattr(resolve(kind, TASKS, where="task.kind"), "distil_loss"):
        raise ConfigError(
            f"training.method lists distil, but the task {kind!r} has no distil_loss",
            fix="--set training.method=[full], or give the task that method (lft_ray/tasks/base.py says how)",
        )
