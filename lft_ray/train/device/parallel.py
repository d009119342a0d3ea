"""Train one network in several processes, as full replicas (data parallel) or as shards of each layer (FSDP2).

In: a network that is the same on all processes. Out: a network for the forward pass, gradients summed over the
processes and, at the end, the whole trained network in the given one. Never touches data or an optimizer.
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
"""Bytes per trained float32 weight: the weight, its gradient and AdamW's two moments, 4 bytes each."""
STATE_SHARE = 0.7
"""Largest share of a worker's memory for that state before the network is sharded; the rest is for activations."""


class Sharing(Protocol):
    """One way to distribute a network over processes.

    Attributes:
        network: runs the forward pass and owns the parameters to optimise, named as in the given network.
        loss_scale: factor for each process's loss that makes the gradient exchange a sum over the processes.
        can_agree: whether a process that ran out of memory in a pass can report it to the others. If not, the others
            are already waiting for it in a collective operation.
    """

    network: nn.Module
    loss_scale: float
    can_agree: bool

    def passes(self, mine: int) -> int:
        """Number of passes this process must make in a step for which it has ``mine`` micro-batches."""

    def clear(self) -> None:
        """Reset the gradients."""

    def backward(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """Context for one forward and backward pass of a step."""

    def all_fit(self, *, fits: bool) -> bool:
        """Whether the step's passes fit into memory on all processes; each must call this after its own passes."""

    def exchange(self) -> None:
        """Sum the gradients over the processes."""

    def clip(self, max_norm: float) -> torch.Tensor:
        """Clip the gradient to ``max_norm``. Returns the norm before clipping, over all processes."""

    def gather(self) -> None:
        """Write the trained weights back into the given network, on every process."""


class _Replicas:
    """Every process has the whole network.

    Gradients are summed in one exchange after the last pass, once all processes have reported that their passes fit
    into memory. DDP starts the exchange during the last pass, so a process that runs out of memory there leaves the
    others waiting forever. `benchmarks/gradient_exchange.py` compares the two.
    """

    def __init__(self, network: nn.Module, group: Group) -> None:
        self.network = network
        self.loss_scale = 1.0
        self.can_agree = True
        self._group = group
        self._trained = [p for p in network.parameters() if p.requires_grad]
        # Allocated before the first pass: an allocation that failed later, on one process, would leave others waiting.
        self._flat: torch.Tensor | None = None
        self._used: list[nn.Parameter] | None = None
        if group.world > 1:
            self._flat = torch.zeros(sum(p.numel() for p in self._trained), device=self._trained[0].device)
            self._copy_lead_weights(self._flat)

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
        # A process without rows has no gradients, and a weight that no loss depends on has none on any process: the
        # first successful step finds out which parameters have a gradient anywhere.
        has_gradient = [parameter.grad is not None for parameter in self._trained] if self._used is None else []
        flags = torch.tensor([not fits, *has_gradient], dtype=torch.float32, device=self._group.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        is_oom, *is_used = (bool(flag) for flag in flags.tolist())
        if not is_oom and self._used is None:
            self._adopt(self._flat, is_used)
        return not is_oom

    def exchange(self) -> None:
        if self._flat is not None:
            dist.all_reduce(self._flat)

    def clip(self, max_norm: float) -> torch.Tensor:
        return nn.utils.clip_grad_norm_(self._trained, max_norm)

    def gather(self) -> None:
        """Free the gradients; the weights are already in the given network."""
        for parameter in self._trained:
            parameter.grad = None
        self._flat = self._used = None

    def _copy_lead_weights(self, flat: torch.Tensor) -> None:
        """Give every process rank 0's weights."""
        with torch.no_grad():
            flat.copy_(torch.cat([parameter.flatten() for parameter in self._trained]))
            dist.broadcast(flat, src=0)
            for parameter, part in zip(self._trained, self._parts(flat, self._trained), strict=True):
                parameter.copy_(part)

    def _adopt(self, flat: torch.Tensor, has_gradient: list[bool]) -> None:
        """From now on store the gradients as views of one flat tensor, which is exchanged without copying."""
        used = [parameter for parameter, is_used in zip(self._trained, has_gradient, strict=True) if is_used]
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
    """Each process stores 1/world of every weight, gradient and moment; a layer is whole only while it runs (FSDP2).

    After Zhao et al. 2023 (arXiv 2304.11277). Before the first step and after the last, the whole network must fit into
    memory once, in float32 and without gradients.
    """

    def __init__(self, network: nn.Module, group: Group) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        # FSDP averages gradients over the processes, where the loop needs their sum.
        self.loss_scale, self.can_agree = float(group.world), False
        self._given, self._group = network, group
        mesh = init_device_mesh(group.device, (group.world,))
        sharded = copy.deepcopy(network)
        for layer in _layers(sharded):
            fully_shard(layer, mesh=mesh)
        self.network: Any = fully_shard(sharded, mesh=mesh)
        # The shards are copies: free the whole weights until `gather`.
        for parameter in network.parameters():
            parameter.data = parameter.data.new_empty(0)

    def passes(self, mine: int) -> int:
        # Each pass gathers layers from all processes, so all must make the same number of passes.
        return max(1, int(self._group.all_max(mine)))

    def clear(self) -> None:
        for parameter in self.network.parameters():
            parameter.grad = None

    def backward(self, *, is_last: bool) -> AbstractContextManager[Any]:
        self.network.set_requires_gradient_sync(is_last)
        return nullcontext()

    def all_fit(self, *, fits: bool) -> bool:
        return fits

    def exchange(self) -> None:
        """Nothing to do: FSDP exchanges gradients during the last pass."""

    def clip(self, max_norm: float) -> torch.Tensor:
        norm: Any = nn.utils.clip_grad_norm_(self.network.parameters(), max_norm)
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
    """Distribute a network over the processes of a group; every process must call this."""
    return _Shards(network, group) if is_sharded and group.world > 1 else _Replicas(network, group)


def is_sharded(network: nn.Module) -> bool:
    """Whether a network is sharded, so that all processes must run it the same number of times."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(network, FSDPModule)


def needs_shards(network: nn.Module, group: Group, memory_bytes: float) -> bool:
    """Whether weights, gradients and moments leave a process too little of its ``memory_bytes`` for activations."""
    weights = sum(p.numel() * (STATE_BYTES if p.requires_grad else p.element_size()) for p in network.parameters())
    return group.all_max(float(weights > STATE_SHARE * memory_bytes)) > 0


def _layers(network: nn.Module) -> list[nn.Module]:
    """Repeated blocks of a network: the items of its outermost module lists."""
    found: list[nn.Module] = []
    for child in network.children():
        found += list(child) if isinstance(child, nn.ModuleList) else _layers(child)
    return found
