"""Train low-rank factors (LoRA) next to frozen matrices, and merge them. In: a loop job. Out: as for `loop.train`.

W + (alpha / rank) B A with B = 0 at the start (Hu et al. 2021, arXiv:2106.09685), implemented by peft. The factors are
merged before the last validation pass, so that an ordinary network is scored, saved and served. Importing peft takes
seconds (it imports transformers), so only trials of this method import it. Never trains a matrix itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from lft_ray.data.batches import Inputs
from lft_ray.errors import ConfigError
from lft_ray.models.network import HeadedNetwork, TextNetwork
from lft_ray.records import CurvePoint
from lft_ray.train.loop.job import LoopJob, LoopResult
from lft_ray.train.loop.loop import train

__all__ = ["add_factors", "merge", "targets", "train_lora"]


def train_lora(job: LoopJob, report: Callable[[CurvePoint], None], should_stop: Callable[[], bool]) -> LoopResult:
    """`loop.train` of the head and of low-rank factors with ``job.config.lora_rank`` and ``lora_alpha``.

    Raises:
        ConfigError: rank or alpha is None, or an entry of ``training.lora.target_modules`` matches no linear layer.
    """
    network, config = job.network, job.config
    assert isinstance(network, TextNetwork)
    if config.lora_rank is None or config.lora_alpha is None:
        raise ConfigError(f"{config.model_size} with method lora requires lora_rank and lora_alpha")
    add_factors(network, config.lora_rank, config.lora_alpha, job.training.lora.target_modules, seed=config.seed)

    def served() -> tuple[HeadedNetwork, Inputs]:
        merge(network)
        return network, job.validation

    try:
        return train(replace(job, served=served), report, should_stop)
    finally:
        # A run that stopped before its last pass has not merged; its network must be left plain, too.
        merge(network)


def add_factors(network: TextNetwork, rank: int, alpha: float, names: Sequence[str] | None, *, seed: int) -> None:
    """Freeze the backbone and add low-rank factors to its linear layers. The global random state is unchanged.

    Args:
        network: network to change in place; its predictions stay the same until a factor is trained.
        rank: rank of the factors.
        alpha: scale of the factors' product, which is multiplied by alpha / rank.
        names: names of the linear layers, as for `targets`.
        seed: seed of the initial values of A.
    """
    from peft import LoraConfig, inject_adapter_in_model

    chosen = targets(network.backbone, names)
    spec = LoraConfig(r=rank, lora_alpha=alpha, target_modules=chosen, lora_dropout=0.0, bias="none")  # type: ignore[arg-type]
    device = network.head.weight.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(spec, network.backbone)
    network.to(device)


def targets(backbone: nn.Module, names: Sequence[str] | None) -> list[str]:
    """Full names of the linear layers that receive factors.

    Args:
        backbone: backbone that contains the layers.
        names: last parts of names, such as ``qkv``; None: every linear layer that contributes to the output.

    Raises:
        ConfigError: a name matches no linear layer.
    """
    linear = [n for n, part in backbone.named_modules() if isinstance(part, nn.Linear) and part.weight.requires_grad]
    if names is None:
        return linear
    for name in names:
        if not any(_matches(full, name) for full in linear):
            ends = dict.fromkeys(full.rpartition(".")[2] for full in linear)
            raise ConfigError(
                f"training.lora.target_modules: {name!r} is not a linear layer of {type(backbone).__name__}: "
                f"expected some of {', '.join(ends)}"
            )
    return [full for full in linear if any(_matches(full, name) for name in names)]


def merge(network: TextNetwork) -> None:
    """Merge the factors into their matrices and restore plain modules under their original names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    backbone = network.backbone
    for name, part in list(backbone.named_modules()):
        if isinstance(part, BaseTunerLayer):
            part.merge()
            parent, _, own = name.rpartition(".")
            setattr(backbone.get_submodule(parent), own, part.get_base_layer())


def _matches(full: str, name: str) -> bool:
    return full == name or full.endswith(f".{name}")
