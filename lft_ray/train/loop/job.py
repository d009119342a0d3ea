"""Input and result of one training run. In and out: values between a trial and the training loop. Never runs code."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lft_ray.config import TrainingSpec
from lft_ray.data.batches import Inputs
from lft_ray.models.network import HeadedNetwork
from lft_ray.records import CurvePoint, TrialConfig, TrialStatus, Usage
from lft_ray.tasks.base import Task
from lft_ray.train.device.meter import Meter
from lft_ray.train.loop.activations import ActivationStore
from lft_ray.train.loop.checkpoint import StateStore
from lft_ray.train.loop.distill import Teacher

__all__ = ["LoopJob", "LoopResult"]


@dataclass(frozen=True, slots=True)
class LoopJob:
    """Input of one training run.

    Attributes:
        network: network to train in place; float32.
        task: supplies the loss and the metrics.
        metric: key of the task metric that is the F1 of the learning curve.
        train: inputs and targets to train on.
        validation: inputs and targets to score.
        config: hyperparameters; learning rate, batch size, epochs, length and seed must be set.
        training: training settings.
        pad_id: token id of the padding.
        device: torch device of the network.
        dtype: "fp32" or "bf16" (autocast over float32 weights).
        final_precision: compute precision of the last validation pass: that of serving, so that the reference variant
            needs no second pass.
        teacher: teacher of a distilled trial; None: train on the labels only.
        probe_key: identifies what the linear probe depends on; None: the probe is not cached.
        activations: the node's cache of frozen-layer activations and probes; None: no cache.
        served: called after the last step; returns the network as it will be served, and its inputs, for the last
            validation pass. None: ``network`` and ``validation``.
        states: where the training state is saved and resumed from; None: neither.
        meter: measures usage from the beginning of the trial.
    """

    network: HeadedNetwork
    task: Task
    metric: str
    train: Inputs
    validation: Inputs
    config: TrialConfig
    training: TrainingSpec
    pad_id: int
    device: str = "cpu"
    dtype: str = "fp32"
    final_precision: str = "fp32"
    teacher: Teacher | None = None
    probe_key: Hashable | None = None
    activations: ActivationStore | None = None
    served: Callable[[], tuple[HeadedNetwork, Inputs]] | None = None
    states: StateStore | None = None
    meter: Meter = field(default_factory=Meter)


@dataclass(frozen=True, slots=True)
class LoopResult:
    """Result of one training run.

    Attributes:
        status: done, stopped (deadline) or infeasible (non-finite loss, or too little memory).
        reason: reason for the status; empty if training reached the end of its schedule.
        curve: learning curve: one point per validation pass, from fraction 0 (the probe) to the end of the run.
        logits: float32 [n, c] of the last validation pass, in ``final_precision``; None unless done.
        metrics: all task metrics on ``logits``.
        usage: usage of all processes, including those before a resume.
    """

    status: TrialStatus
    reason: str
    curve: list[CurvePoint]
    logits: NDArray[np.float32] | None
    metrics: dict[str, float]
    usage: Usage
