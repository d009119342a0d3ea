"""Train factors of low rank beside frozen matrices, and merge them into plain weights. In and out: a loop job.

W + (alpha / rank) B A with B = 0 at the start (Hu et al. 2021, arXiv:2106.09685), by peft. The merge happens before
the last validation pass, so what is scored, saved and served is an ordinary network. Importing peft takes seconds (it
brings transformers along), so only a trial of this method does.
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
    """`loop.train` of the head and of factors with ``job.config.lora_rank`` and ``lora_alpha``.

    Raises:
        ConfigError: rank or alpha are None, or ``training.lora.target_modules`` names no matrix of the network.
    """
    network, config = job.network, job.config
    assert isinstance(network, TextNetwork)
    if config.lora_rank is None or config.lora_alpha is None:
        raise ConfigError(f"{config.model_size} with method lora needs lora_rank and lora_alpha")
    add_factors(network, config.lora_rank, config.lora_alpha, job.training.lora.target_modules, seed=config.seed)

    def served() -> tuple[HeadedNetwork, Inputs]:
        merge(network)
        return network, job.validation

    try:
        return train(replace(job, served=served), report, should_stop)
    finally:
        # A run that ended early has merged nothing; its network is plain again all the same.
        merge(network)


def add_factors(network: TextNetwork, rank: int, alpha: float, names: Sequence[str] | None, *, seed: int) -> None:
    """Freeze the backbone and put factors beside its matrices. The global random state is not touched.

    Args:
        network: changed in place; its answers stay the same until a factor is trained.
        rank: columns of the first factor.
        alpha: the product is scaled by alpha / rank.
        names: as `targets` takes them.
        seed: of the first factors.
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
    """Full names of the linear layers that get factors.

    Args:
        backbone: whose layers they are.
        names: ends of names, such as ``qkv``; None: every linear layer that the answers depend on.

    Raises:
        ConfigError: a name fits no linear layer.
    """
    linear = [n for n, part in backbone.named_modules() if isinstance(part, nn.Linear) and part.weight.requires_grad]
    if names is None:
        return linear
    for name in names:
        if not any(_fits(full, name) for full in linear):
            ends = dict.fromkeys(full.rpartition(".")[2] for full in linear)
            raise ConfigError(
                f"training.lora.target_modules: {name!r} is no linear layer of {type(backbone).__name__}: "
                f"expected some of {', '.join(ends)}"
            )
    return [full for full in linear if any(_fits(full, name) for name in names)]


def merge(network: TextNetwork) -> None:
    """Add the factors to their matrices and take them away: plain modules by their old names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    backbone = network.backbone
    for name, part in list(backbone.named_modules()):
        if isinstance(part, BaseTunerLayer):
            part.merge()
            parent, _, own = name.rpartition(".")
            setattr(backbone.get_submodule(parent), own, part.get_base_layer())


def _fits(full: str, name: str) -> bool:
    return full == name or full.endswith(f".{name}")
