"""One optimiser step, with its micro-batches and processes. In: row numbers. Out: updated weights.

The loss of a step is a SUM over its texts divided by the step's global text count, so the gradient depends neither on
the number of micro-batches nor on the number of processes. With a teacher, the loss is (1 - w) x the task's loss on the
labels + w x the divergence from the teacher's predictions. Never knows the schedule.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from lft_ray.config import TrainingSpec
from lft_ray.data.batches import Inputs, micro_batches
from lft_ray.errors import first_line
from lft_ray.models.network import HeadedNetwork
from lft_ray.tasks.base import Task
from lft_ray.train.device.memory import (
    MAX_HALVINGS,
    OTHER_PROCESS,
    OutOfMemoryError,
    agree_on_oom,
    empty_cache,
    is_out_of_memory,
)
from lft_ray.train.device.meter import Meter
from lft_ray.train.device.parallel import share
from lft_ray.train.device.precision import autocast
from lft_ray.train.device.process_group import Group
from lft_ray.train.loop.distill import Teacher
from lft_ray.train.loop.evaluate import Batching
from lft_ray.train.loop.optim import build_optimizer, set_learning_rate

__all__ = ["Stepper"]


class Stepper:
    """Makes optimiser steps on one network.

    Args:
        network: float32 network, trained in place.
        task: supplies the loss.
        inputs: inputs and targets of the train split.
        batching: how rows become tensors, and the compute precision.
        training: supplies weight decay, gradient clipping and class weights.
        teacher: teacher of a distilled trial, or None.
        layer_decay: learning-rate factor per layer below the head.
    """

    def __init__(
        self,
        network: HeadedNetwork,
        task: Task,
        inputs: Inputs,
        batching: Batching,
        training: TrainingSpec,
        teacher: Teacher | None = None,
        layer_decay: float = 1.0,
    ) -> None:
        self._network = network
        self._task = task
        self._inputs = inputs
        self._batching = batching
        self._teacher = teacher
        self._clip_norm = training.clip_norm
        self.lengths = inputs.lengths(batching.max_length)
        self._targets = np.asarray(inputs.targets)
        self.class_weights = task.class_weights(self._targets) if training.class_weights == "balanced" else None
        self._weights_tensor = (
            None if self.class_weights is None else torch.from_numpy(self.class_weights).to(batching.device)
        )
        self._weight_decay = training.weight_decay
        self._is_first = True
        self._layer_decay = layer_decay
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=batching.device)
        """Sum of this process's losses since the last `clear`."""
        self.loss_weight = 0.0
        """Divisor that turns the sum over all processes into a mean; equal on each process."""
        self.micro_batch_tokens = batching.micro_batch_tokens
        """Padded tokens per forward pass; halved when memory runs out."""
        self.halvings = 0
        """How often forward passes have been halved."""
        self.norm = torch.zeros(())
        """Gradient norm of the last step before clipping, over all processes."""

    def connect(self, group: Group, *, is_sharded: bool = False) -> None:
        """Distribute the network over the processes; call this after the weights are in place."""
        self._group = group
        self._sharing = share(self._network, group, is_sharded=is_sharded)
        self.optimizer = build_optimizer(self._sharing.network, 0.0, self._weight_decay, self._layer_decay)

    def disconnect(self) -> None:
        """Write the trained weights into the network itself, on every process; no step can follow."""
        self._sharing.gather()
        self.optimizer.state.clear()

    @property
    def network(self) -> torch.nn.Module:
        """Network for forward passes while connected; it owns the parameters that the optimizer updates."""
        return self._sharing.network

    def take(self, rows: NDArray[np.int64], learning_rate: float, meter: Meter) -> None:
        """Make one optimiser step on the global ``rows``, of which this process runs its share.

        Raises:
            OutOfMemoryError: the step does not fit into memory, even in passes of a quarter of the tokens.
        """
        mine = self._differentiate(rows)
        self.norm = self._sharing.clip(self._clip_norm)
        set_learning_rate(self.optimizer, learning_rate)
        if self._is_first:
            # The first step allocates the moments. If they do not fit on one process, all processes must know.
            self._is_first = False
            with agree_on_oom(self._group):
                self.optimizer.step()
        else:
            self.optimizer.step()
        meter.count(
            sum(int(self.lengths[batch].sum()) for batch in mine),
            sum(len(batch) * int(self.lengths[batch].max()) for batch in mine),
        )

    def _differentiate(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Compute the gradients of a step; if memory runs out, retry with smaller forward passes and keep their size.

        Returns:
            The micro-batches of this process.
        """
        while True:
            group = self._group
            mine = micro_batches(rows, self.lengths, self.micro_batch_tokens, rank=group.rank, world=group.world)
            before, reason = (self.loss_sum.clone(), self.loss_weight), ""
            try:
                self.accumulate(rows, mine)
            except (RuntimeError, MemoryError) as error:
                # With sharded layers the other processes already wait in a collective, so the group must restart.
                if not is_out_of_memory(error) or not self._sharing.can_agree:
                    raise
                reason = first_line(error)
            if self._sharing.all_fit(fits=not reason):
                self._sharing.exchange()
                return mine
            # Not in the exception handler: there, the traceback still references the tensors of the failed pass.
            self.loss_sum, self.loss_weight = before
            self._sharing.clear()
            self.halve(1, reason or OTHER_PROCESS)
            empty_cache(self._batching.device)

    def halve(self, times: int, reason: str = "in earlier worker groups of this trial") -> None:
        """Halve the tokens per forward pass, ``times`` times.

        Raises:
            OutOfMemoryError: the limit of `MAX_HALVINGS` is exceeded.
        """
        for _ in range(times):
            if self.halvings == MAX_HALVINGS:
                raise OutOfMemoryError(
                    f"out of memory in passes of {self.micro_batch_tokens} tokens, "
                    f"halved {MAX_HALVINGS} times: {reason}"
                )
            self.halvings += 1
            self.micro_batch_tokens = max(1, self.micro_batch_tokens // 2)

    def accumulate(self, rows: NDArray[np.int64], mine: list[NDArray[np.int64]]) -> None:
        """Compute this process's share of the gradient of the mean loss over ``rows``; ``mine``: its micro-batches."""
        divisor, sharing = self._task.units(self._targets[rows], self.class_weights), self._sharing
        passes = sharing.passes(len(mine))
        sharing.clear()
        for index in range(passes):
            # A pass made only to take part in the collective operations runs one text with weight zero.
            batch, scale = (mine[index], sharing.loss_scale / divisor) if index < len(mine) else (rows[:1], 0.0)
            with sharing.backward(is_last=index == passes - 1):
                loss = self._loss(batch, divisor / len(rows))
                torch.autograd.backward(loss * scale)
            if index < len(mine):
                self.loss_sum += loss.detach()
        self.loss_weight += divisor

    def clear(self) -> None:
        """Start a new mean of the training loss."""
        self.loss_sum.zero_()
        self.loss_weight = 0.0

    def _loss(self, batch: NDArray[np.int64], per_text: float) -> torch.Tensor:
        """Sum of the losses in ``batch``; ``per_text``: mean class weight of the step's texts, 1 without weights."""
        batching = self._batching
        read, mask = self._inputs.tensors(batch, batching.max_length, batching.pad_id)
        targets = torch.from_numpy(self._targets[batch]).to(batching.device)
        with autocast(batching.device, batching.dtype):
            logits = self._sharing.network(read.to(batching.device), mask.to(batching.device)).float()
        loss = self._task.loss(logits, targets, self._weights_tensor)
        if self._teacher is None:
            return loss
        spec, teacher_logits = self._teacher.spec, self._teacher.of(batch, batching.device)
        # Class weights apply to the labels only. The sum is later divided by the total class weight, so each text's
        # divergence is multiplied by the mean class weight.
        divergence = self._task.distill_loss(logits, teacher_logits, spec.temperature) * per_text
        return (1.0 - spec.weight) * loss + spec.weight * divergence
