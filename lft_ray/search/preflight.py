"""Whether an experiment can run as it is written, asked before anything is spent. In: candidates. Out: errors."""

from lft_ray.candidates import Candidates
from lft_ray.config import TrainingSpec
from lft_ray.config.methods import DISTILL, LORA
from lft_ray.errors import ConfigError, nearest
from lft_ray.models.architecture import FAMILIES, LINEAR_LAYERS
from lft_ray.models.sizes import check_lengths
from lft_ray.search.space import possible_methods

__all__ = ["check_distillation", "check_experiment", "check_methods"]


def check_experiment(candidates: Candidates, training: TrainingSpec) -> None:
    """Compare the positions of every base with ``training.max_length``, and the methods with the task.

    Raises:
        ModelError: naming what is too short.
        ConfigError: the task cannot be distilled, or no method can train a size.
    """
    check_methods(candidates, training)
    check_lengths(candidates.sizes, training.max_length)


def check_methods(candidates: Candidates, training: TrainingSpec) -> None:
    """Refuse what no trial could do: distill without a loss, freeze all there is, put factors beside nothing.

    Raises:
        ConfigError: naming the key, and what may stand there.
    """
    check_distillation(candidates, training)
    networks = candidates.networks
    idle = [size.name for size in networks if not possible_methods(size, training)]
    if idle:
        raise ConfigError(
            f"training.method lists only `freeze`, and frozen_layers leave no layer to train of {', '.join(idle)}",
            fix="--set training.method=[full, freeze], or list smaller numbers",
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


def check_distillation(candidates: Candidates, training: TrainingSpec) -> None:
    """Refuse distillation of a task that does not say how answers are compared.

    Raises:
        ConfigError: ``training.method`` lists distill and the task has no ``distill_loss``.
    """
    if DISTILL in training.method and not candidates.task.can_distill:
        raise ConfigError(
            f"training.method lists distill, but the task {candidates.task.kind!r} has no distill_loss",
            fix="--set training.method=[full], or give the task that method (lft_ray/tasks/base.py says how)",
        )
