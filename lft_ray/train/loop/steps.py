"""One optimiser step: rows in, changed weights out. Knows micro-batches and processes; knows no schedule.

A step's loss is a SUM over its texts divided by the step's global text count, so neither the number of micro-batches
nor that of processes changes the gradient. With a teacher it is (1 - w) x the task's loss on the labels + w x its
divergence from the teacher's answers.
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
    ELSEWHERE,
    HALVINGS,
    OutOfMemoryError,
    fits_everywhere,
    free_cached,
    is_out_of_memory,
)
from lft_ray.train.device.meter import Meter
from lft_ray.train.device.parallel import share
from lft_ray.train.device.precision import autocast
from lft_ray.train.device.process_group import Group
from lft_ray.train.loop.distill import Teacher
from lft_ray.train.loop.evaluate import Batching
from lft_ray.train.loop.optim import build_optimizer, set_learning_rate
from lft_ray.train.loop.probe import loss_divisor

__all__ = ["Stepper"]


class Stepper:
    """Turns row numbers into optimiser steps on one network.

    Args:
        network: float32, trained in place.
        task: whose loss is minimised.
        inputs: the train split.
        batching: how rows become tensors, and what is computed in.
        training: decay, clipping and class weights are read from it.
        teacher: of a distilled trial.
        layer_decay: factor of the learning rate for each layer below the head.
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
        """Sum of this process's losses since `clear`."""
        self.loss_weight = 0.0
        """What the sum over all processes is to be divided by to be a mean; the same on each."""
        self.micro_batch_tokens = batching.micro_batch_tokens
        """Padded tokens of a forward pass; halved when memory runs out."""
        self.halvings = 0
        """Times that forward passes were halved."""
        self.norm = torch.zeros(())
        """Gradient norm of the last step before clipping, over all processes."""

    def connect(self, group: Group, *, is_sharded: bool = False) -> None:
        """Share the network with the other processes from now on; call after the weights are in place."""
        self._group = group
        self._sharing = share(self._network, group, is_sharded=is_sharded)
        self.optimizer = build_optimizer(self._sharing.network, 0.0, self._weight_decay, self._layer_decay)

    def disconnect(self) -> None:
        """Have the trained weights in the network itself, on every process; no step can follow."""
        self._sharing.gather()
        self.optimizer.state.clear()

    @property
    def network(self) -> torch.nn.Module:
        """What runs forward while connected; its parameters are those that the optimizer changes."""
        return self._sharing.network

    def take(self, rows: NDArray[np.int64], learning_rate: float, meter: Meter) -> None:
        """Change the weights by one step over the global ``rows``, of which this process runs its share.

        Raises:
            OutOfMemoryError: the step does not fit, not even in passes of a quarter of the tokens.
        """
        mine = self._differentiate(rows)
        self.norm = self._sharing.clip(self._clip_norm)
        set_learning_rate(self.optimizer, learning_rate)
        if self._is_first:
            # It allocates the moments. With several processes all must hear of one where they do not fit.
            self._is_first = False
            with fits_everywhere(self._group):
                self.optimizer.step()
        else:
            self.optimizer.step()
        meter.count(
            sum(int(self.lengths[batch].sum()) for batch in mine),
            sum(len(batch) * int(self.lengths[batch].max()) for batch in mine),
        )

    def _differentiate(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Gradients of a step, in smaller forward passes from now on where memory runs out. Returns our passes."""
        while True:
            group = self._group
            mine = micro_batches(rows, self.lengths, self.micro_batch_tokens, rank=group.rank, world=group.world)
            before, reason = (self.loss_sum.clone(), self.loss_weight), ""
            try:
                self.accumulate(rows, mine)
            except (RuntimeError, MemoryError) as error:
                # Where layers are gathered in each pass the others wait in one already: the group must start again.
                if not is_out_of_memory(error) or not self._sharing.can_agree:
                    raise
                reason = first_line(error)
            if self._sharing.all_fit(fits=not reason):
                self._sharing.exchange()
                return mine
            # Here, not in the handler: the traceback holds the tensors of the pass that did not fit.
            self.loss_sum, self.loss_weight = before
            self._sharing.clear()
            self.halve(1, reason or ELSEWHERE)
            free_cached(self._batching.device)

    def halve(self, times: int, reason: str = "in the groups of workers before this one") -> None:
        """Make forward passes smaller from now on.

        Raises:
            OutOfMemoryError: they were halved often enough.
        """
        for _ in range(times):
            if self.halvings == HALVINGS:
                raise OutOfMemoryError(
                    f"out of memory in passes of {self.micro_batch_tokens} tokens, halved {HALVINGS} times: {reason}"
                )
            self.halvings += 1
            self.micro_batch_tokens = max(1, self.micro_batch_tokens // 2)

    def accumulate(self, rows: NDArray[np.int64], mine: list[NDArray[np.int64]]) -> None:
        """Put our share of the gradient of the mean loss over ``rows`` into the parameters; ``mine``: our passes."""
        divisor, sharing = loss_divisor(self._targets[rows], self.class_weights), self._sharing
        passes = sharing.passes(len(mine))
        sharing.clear()
        for index in range(passes):
            # A pass that is made for the others' sake runs one text at weight zero.
            batch, scale = (mine[index], sharing.loss_scale / divisor) if index < len(mine) else (rows[:1], 0.0)
            with sharing.backward(is_last=index == passes - 1):
                loss = self._loss(batch, divisor / len(rows))
                torch.autograd.backward(loss * scale)
            if index < len(mine):
                self.loss_sum += loss.detach()
        self.loss_weight += divisor

    def clear(self) -> None:
        """Begin a new mean of the training loss."""
        self.loss_sum.zero_()
        self.loss_weight = 0.0

    def _loss(self, batch: NDArray[np.int64], per_text: float) -> torch.Tensor:
        """Sum of the losses of ``batch``; ``per_text``: mean class weight of the step's texts, 1 without weights."""
        batching = self._batching
        read, mask = self._inputs.tensors(batch, batching.max_length, batching.pad_id)
        targets = torch.from_numpy(self._targets[batch]).to(batching.device)
        with autocast(batching.device, batching.dtype):
            logits = self._sharing.network(read.to(batching.device), mask.to(batching.device)).float()
        loss = self._task.loss(logits, targets, self._weights_tensor)
        if self._teacher is None:
            return loss
        spec, taught = self._teacher.spec, self._teacher.of(batch, batching.device)
        # Class weights weigh the labels alone: the sum is divided by them, so each text's divergence takes the mean.
        divergence = self._task.distill_loss(logits, taught, spec.temperature) * per_text
        return (1.0 - spec.weight) * loss + spec.weight * divergence
