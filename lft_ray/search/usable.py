"""Whether an experiment can run as it is written, asked before anything is spent. In: an experiment. Out: errors."""

from lft_ray.config import Experiment
from lft_ray.errors import ConfigError, nearest
from lft_ray.methods import DISTIL, LORA
from lft_ray.models.architecture import FAMILIES, LINEAR_LAYERS
from lft_ray.models.base import check_lengths, find_size, model_sizes
from lft_ray.models.resolve import find_base
from lft_ray.plugins import resolve
from lft_ray.search.space import possible_methods
from lft_ray.tasks import TASKS

__all__ = ["check_distil", "check_methods", "check_usable"]


def check_usable(experiment: Experiment) -> None:
    """Find every base model, compare its positions with ``training.max_length``, and the methods with the task.

    Raises:
        ModelError: naming what is unknown, out of reach or too short.
        ConfigError: the task cannot be distilled, or no method can train a size.
    """
    check_methods(experiment)
    sizes = model_sizes(experiment.models)
    check_lengths(sizes, experiment.training.max_length)
    for name in {size.base: size.name for size in sizes if not size.is_linear}.values():
        find_base(find_size(experiment.models, name)[0])


def check_methods(experiment: Experiment) -> None:
    """Refuse what no trial could do: distil without a loss, freeze all there is, put factors beside nothing.

    Raises:
        ConfigError: naming the key, and what may stand there.
    """
    check_distil(experiment)
    training, networks = experiment.training, [s for s in model_sizes(experiment.models) if not s.is_linear]
    idle = [size.name for size in networks if not possible_methods(size, training)]
    if idle:
        raise ConfigError(
            f"training.method is frozen alone, and frozen_layers leave no layer to train of {', '.join(idle)}",
            fix="--set training.method=[full, frozen], or list smaller numbers",
        )
    names = training.lora.target_modules or []
    # The names of other architectures are only known once their network is built.
    if LORA in training.method and all(size.family in FAMILIES for size in networks):
        unknown = [name for name in names if name.rpartition(".")[2] not in LINEAR_LAYERS]
        if unknown:
            raise ConfigError(
                f"training.lora.target_modules: {unknown[0]!r} is no matrix of the encoder: expected some of "
                f"{', '.join(LINEAR_LAYERS)}.{nearest(unknown[0], LINEAR_LAYERS)}"
            )


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
