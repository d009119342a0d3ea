"""What one training run needs and how it ended: values between whoever runs a trial and the loop. Nothing runs here."""

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
    """What one training run needs.

    Attributes:
        network: trained in place; float32.
        task: loss and metrics.
        metric: key of the task's metrics that is the F1 of the curve.
        train: what is trained on.
        validation: what is scored.
        config: learning rate, batch size, epochs, length and seed must be set.
        training: how to train.
        pad_id: token id of the padding.
        device: torch device of the network.
        dtype: "fp32" or "bf16" (autocast over float32 weights).
        final_precision: what the last validation pass computes in: as it will be served, so that it is not done twice.
        teacher: what a distilled trial learns from beside the labels; None: nothing.
        probe_key: what the frozen probe depends on; None: each trial makes its own.
        activations: where a node keeps what frozen layers answer, and probes; None: nowhere.
        served: makes, after the last step, what the last validation pass runs: the network as it will be served, and
            its inputs. None: ``network`` and ``validation``.
        states: where the training state is saved and resumed from; None: neither.
        meter: measures the usage, from the beginning of the trial.
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
    """How the run ended.

    Attributes:
        status: done, stopped (deadline) or infeasible (a loss that is not finite, or too little memory).
        reason: empty when done at the end of the schedule.
        curve: every validation pass, fraction 0 (the probe) first; the last is the end of the run.
        logits: float32 [n, c] of the last validation pass, in ``final_precision``; None unless done.
        metrics: all metrics of the task on ``logits``.
        usage: of all processes, those before a resume included.
    """

    status: TrialStatus
    reason: str
    curve: list[CurvePoint]
    logits: NDArray[np.float32] | None
    metrics: dict[str, float]
    usage: Usage
