"""How the processes of a group share one network: each has all of it (replicas), or a part of each layer (shards).

In: a network that is the same on all processes. Out: the network to run forward, gradients summed over the processes,
and at the end the whole network back in place. Never touches data or an optimizer.
"""

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from lft_ray.train.device.process_group import Group

__all__ = ["STATE_BYTES", "Sharing", "is_sharded", "needs_shards", "share"]

STATE_BYTES = 16
"""Of a trained float32 weight: itself, its gradient and AdamW's two moments."""
STATE_SHARE = 0.7
"""Most of a worker's memory that they may take before `needs_shards`; the rest is for activations."""


class Sharing(Protocol):
    """One way to share a network.

    Attributes:
        network: runs forward, and has the parameters to optimise, by the names of the given network.
        loss_scale: what a process's loss is multiplied by, so that the exchange comes to the sum over the processes.
        can_agree: whether a process that ran out of memory in a pass may say so: elsewhere the others wait for it.
    """

    network: nn.Module
    loss_scale: float
    can_agree: bool

    def passes(self, mine: int) -> int:
        """Forward and backward passes that this process must make of a step of which it has ``mine``."""

    def clear(self) -> None:
        """Forget the gradients."""

    def backward(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """Context of one pass of a step."""

    def all_fit(self, *, fits: bool) -> bool:
        """Whether the step's passes fitted into memory everywhere; every process must ask after its own."""

    def exchange(self) -> None:
        """Sum the gradients over the processes."""

    def clip(self, most: float) -> torch.Tensor:
        """Cut the gradient to norm ``most``. Returns its norm before that, over all processes."""

    def gather(self) -> None:
        """Put the trained weights back into the given network, on every process."""


class _Replicas:
    """Every process has the whole network.

    Gradients are exchanged after the last pass, in one sum, once all processes have said that their passes fitted. DDP
    begins to exchange during that pass: one that runs out of memory in it leaves the others waiting for ever.
    `benchmarks/gradient_exchange.py` measures the two beside each other.
    """

    def __init__(self, network: nn.Module, group: Group) -> None:
        self.network = network
        self.loss_scale = 1.0
        self.can_agree = True
        self._group = group
        self._trained = [p for p in network.parameters() if p.requires_grad]
        # Allocated before the first pass: one that failed later, on one process, would leave the others waiting.
        self._flat: torch.Tensor | None = None
        self._used: list[nn.Parameter] | None = None
        if group.world > 1:
            self._flat = torch.zeros(sum(p.numel() for p in self._trained), device=self._trained[0].device)
            self._same_start(self._flat)

    def passes(self, mine: int) -> int:
        return mine

    def clear(self) -> None:
        if self._flat is None or self._used is None:
            for parameter in self._trained:
                parameter.grad = None
            return
        self._flat.zero_()

    def backward(self, *, is_last: bool) -> AbstractContextManager[Any]:
        del is_last
        return nullcontext()

    def all_fit(self, *, fits: bool) -> bool:
        if self._flat is None:
            return fits
        # A process without a row has no gradients, and a weight that nobody's loss depends on has none anywhere.
        has = [parameter.grad is not None for parameter in self._trained] if self._used is None else []
        says = torch.tensor([not fits, *has], dtype=torch.float32, device=self._group.device)
        dist.all_reduce(says, dist.ReduceOp.MAX)
        answers = [bool(answer) for answer in says.tolist()]
        if not answers[0] and self._used is None:
            self._adopt(self._flat, answers[1:])
        return not answers[0]

    def exchange(self) -> None:
        if self._flat is not None:
            dist.all_reduce(self._flat)

    def clip(self, most: float) -> torch.Tensor:
        return nn.utils.clip_grad_norm_(self._trained, most)

    def gather(self) -> None:
        """Nothing to gather: let go of the gradients."""
        for parameter in self._trained:
            parameter.grad = None
        self._flat = self._used = None

    def _same_start(self, flat: torch.Tensor) -> None:
        """Rank 0's weights on every process."""
        with torch.no_grad():
            flat.copy_(torch.cat([parameter.flatten() for parameter in self._trained]))
            dist.broadcast(flat, src=0)
            for parameter, part in zip(self._trained, self._parts(flat, self._trained), strict=True):
                parameter.copy_(part)

    def _adopt(self, flat: torch.Tensor, has: list[bool]) -> None:
        """From now on gradients lie side by side in one tensor, which is exchanged as it is."""
        used = [parameter for parameter, is_used in zip(self._trained, has, strict=True) if is_used]
        self._flat = flat[: sum(parameter.numel() for parameter in used)].zero_()
        for parameter, part in zip(used, self._parts(self._flat, used), strict=True):
            if parameter.grad is not None:
                part.copy_(parameter.grad)
            parameter.grad = part
        self._used = used

    @staticmethod
    def _parts(flat: torch.Tensor, parameters: list[nn.Parameter]) -> list[torch.Tensor]:
        pieces = torch.split(flat, [parameter.numel() for parameter in parameters])
        return [piece.view_as(parameter) for piece, parameter in zip(pieces, parameters, strict=True)]


class _Shards:
    """Each process keeps 1/world of every weight, gradient and moment; a layer is whole only while it runs (FSDP2).

    After Zhao et al. 2023 (arXiv 2304.11277). The whole network must fit once, in float32 and without gradients, before
    the first step and after the last.
    """

    def __init__(self, network: nn.Module, group: Group) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        # FSDP averages over the processes.
        self.loss_scale, self.can_agree = float(group.world), False
        self._given, self._group = network, group
        mesh = init_device_mesh(group.device, (group.world,))
        sharded = copy.deepcopy(network)
        for layer in _layers(sharded):
            fully_shard(layer, mesh=mesh)
        self.network: Any = fully_shard(sharded, mesh=mesh)
        for parameter in network.parameters():
            parameter.data = parameter.data.new_empty(0)

    def passes(self, mine: int) -> int:
        # Each pass gathers layers from all processes, so all must make as many.
        return max(1, int(self._group.largest(mine)))

    def clear(self) -> None:
        for parameter in self.network.parameters():
            parameter.grad = None

    def backward(self, *, is_last: bool) -> AbstractContextManager[Any]:
        self.network.set_requires_gradient_sync(is_last)
        return nullcontext()

    def all_fit(self, *, fits: bool) -> bool:
        return fits

    def exchange(self) -> None:
        """Done in the last pass."""

    def clip(self, most: float) -> torch.Tensor:
        norm: Any = nn.utils.clip_grad_norm_(self.network.parameters(), most)
        whole: torch.Tensor = norm.full_tensor()
        return whole

    def gather(self) -> None:
        self.clear()
        with torch.no_grad():
            for (_, given), (_, part) in zip(
                self._given.named_parameters(), self.network.named_parameters(), strict=True
            ):
                given.data = part.full_tensor()


def share(network: nn.Module, group: Group, *, is_sharded: bool) -> Sharing:
    """Share a network among the processes of a group; every one of them must call it."""
    return _Shards(network, group) if is_sharded and group.world > 1 else _Replicas(network, group)


def is_sharded(network: nn.Module) -> bool:
    """Whether it is cut into shards: then all processes must run it as often."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(network, FSDPModule)


def needs_shards(network: nn.Module, group: Group, memory_bytes: float) -> bool:
    """Whether weights, gradients and moments leave too little of some process's ``memory_bytes`` for activations."""
    weights = sum(p.numel() * (STATE_BYTES if p.requires_grad else p.element_size()) for p in network.parameters())
    return group.largest(float(weights > STATE_SHARE * memory_bytes)) > 0


def _layers(network: nn.Module) -> list[nn.Module]:
    """Repeated blocks: the items of the outermost lists."""
    found: list[nn.Module] = []
    for child in network.children():
        found += list(child) if isinstance(child, nn.ModuleList) else _layers(child)
    return found
