"""Check an experiment before anything is spent. In: candidates, config sections. Out: errors. Trains nothing."""

from lft_ray.candidates import Candidates
from lft_ray.config import SearchSpec, TrainingSpec
from lft_ray.config.base import SCHEDULERS
from lft_ray.config.methods import DISTILL, LORA
from lft_ray.errors import ConfigError, nearest
from lft_ray.models.architecture import FAMILIES, LINEAR_LAYERS
from lft_ray.models.sizes import check_lengths
from lft_ray.plugins import resolve
from lft_ray.search import SAMPLERS
from lft_ray.search.space import possible_methods
from lft_ray.selection import POLICIES

__all__ = ["check_distillation", "check_experiment", "check_methods", "check_plugins"]


def check_experiment(candidates: Candidates, training: TrainingSpec) -> None:
    """Check every base model's maximum positions against ``training.max_length``, and the methods against the task.

    Raises:
        ModelError: a base model has fewer positions than ``max_length``; the message names it.
        ConfigError: the task is none or does not support distillation, or no method can train a model size.
    """
    candidates.task.check()
    candidates.check_floors()
    check_methods(candidates, candidates.task.usable(training))
    check_lengths(candidates.sizes, training.max_length)


def check_plugins(search: SearchSpec, policy: str) -> None:
    """Resolve the names of sampler, stop rule and policy: the policy is used only after all trials are paid for.

    Args:
        search: names the sampler and the stop rule.
        policy: ``selection.policy``.

    Raises:
        ConfigError: a name is unknown or cannot be imported.
    """
    resolve(search.sampler, SAMPLERS, where="search.sampler")
    resolve(search.scheduler, SCHEDULERS, where="search.scheduler")
    resolve(policy, POLICIES, where="selection.policy")


def check_methods(candidates: Candidates, training: TrainingSpec) -> None:
    """Reject methods that no trial could run: distill without a loss, freeze every layer, LoRA on unknown modules.

    Raises:
        ConfigError: names the key and the allowed values.
    """
    check_distillation(candidates, training)
    networks = candidates.networks
    idle = [size.name for size in networks if not possible_methods(size, training)]
    if idle:
        raise ConfigError(
            f"training.method lists only `freeze`, and frozen_layers leave no trainable layer in {', '.join(idle)}",
            fix="--set training.method=[full, freeze], or list smaller numbers",
        )
    names = training.lora.target_modules or []
    # Module names of other architectures are known only once the network is built, so they are checked then.
    if LORA in training.method and all(size.family in FAMILIES for size in networks):
        unknown = [name for name in names if name.rpartition(".")[2] not in LINEAR_LAYERS]
        if unknown:
            raise ConfigError(
                f"training.lora.target_modules: {unknown[0]!r} is no linear layer of the encoder: expected some of "
                f"{', '.join(LINEAR_LAYERS)}.{nearest(unknown[0], LINEAR_LAYERS)}"
            )


def check_distillation(candidates: Candidates, training: TrainingSpec) -> None:
    """Reject distillation for a task that does not define a distillation loss.

    Raises:
        ConfigError: ``training.method`` lists distill and the task has no ``distill_loss``.
    """
    if DISTILL in training.method and not candidates.task.can_distill:
        raise ConfigError(
            f"training.method lists distill, but the task {candidates.task.kind!r} has no distill_loss",
            fix="--set training.method=[full], or give the task that method (lft_ray/tasks/base.py says how)",
        )
