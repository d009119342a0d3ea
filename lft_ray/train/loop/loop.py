"""The training loop: plain PyTorch, free of Ray. In: network, tokens, configuration. Out: a curve, a trained network.

Runs the same in one process on a core or a GPU, and in several when torch.distributed is initialised; one step is
`Stepper`'s. Never reads text, never writes results; its state goes to a `StateStore`.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lft_ray.data.batches import plan_steps
from lft_ray.errors import ConfigError, first_line
from lft_ray.records import CurvePoint, TrialStatus
from lft_ray.train.device.memory import OutOfMemoryError, is_out_of_memory, memory_bytes
from lft_ray.train.device.meter import session_usage, shared_usage
from lft_ray.train.device.parallel import needs_shards
from lft_ray.train.device.precision import matmul_precision
from lft_ray.train.device.process_group import current_group
from lft_ray.train.loop.checkpoint import Progress, StateStore
from lft_ray.train.loop.evaluate import Batching, ComputePrecision, Scores, predict, score
from lft_ray.train.loop.job import LoopJob, LoopResult
from lft_ray.train.loop.probe import initial_head
from lft_ray.train.loop.probe_cache import ProbeCache
from lft_ray.train.loop.schedule import Schedule, stops_early
from lft_ray.train.loop.steps import Stepper

__all__ = ["evaluation_steps", "train"]

USAGE_EVERY_S = 5.0
"""Least seconds between two notes of what was spent: what a crash can hide from the budget."""
GPU_CHECK_STEPS = 16
"""On a GPU the deadline, the clock and the norm are looked at this often: each look waits for the device."""


class _NotFiniteError(Exception):
    """Loss, gradient or validation logits overflowed: the configuration cannot be trained."""


class _DeadlineError(Exception):
    """``should_stop`` said so."""


def train(job: LoopJob, report: Callable[[CurvePoint], None], should_stop: Callable[[], bool]) -> LoopResult:
    """Train ``job.network`` in place.

    Args:
        job: what to train, on what and how.
        report: called on rank 0 with every new point of the curve, fraction 0 (the probe) and 1 included.
        should_stop: asked at every step; True ends the run as stopped.

    Raises:
        ConfigError: learning rate, batch size or epochs are None.
    """
    run = _Run(job, report, should_stop)
    status, reason = TrialStatus.DONE, ""
    try:
        with matmul_precision(job.device), job.meter.training():
            run.begin()
            run.steps()
        reason = run.end_reason
    except (_NotFiniteError, OutOfMemoryError) as signal:
        status, reason = TrialStatus.INFEASIBLE, str(signal)
    except _DeadlineError:
        status, reason = TrialStatus.STOPPED, f"the deadline came at step {run.step} of {run.total}"
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error) and run.group.world > 1:
            run.record_oom()
        if not is_out_of_memory(error) or run.group.world > 1:
            raise
        status, reason = TrialStatus.INFEASIBLE, f"out of memory outside of the forward passes: {first_line(error)}"
    usage = shared_usage(job.meter)
    done = status is TrialStatus.DONE
    return LoopResult(status, reason, run.curve, run.logits if done else None, run.metrics if done else {}, usage)


def evaluation_steps(total: int, evaluations: int) -> dict[int, float]:
    """Steps after which validation runs -> fraction of the schedule; the last is (total, 1.0)."""
    return {max(1, round(total * i / evaluations)): i / evaluations for i in range(1, evaluations + 1)}


class _Run:
    """One run of the loop: the state that changes from step to step."""

    def __init__(self, job: LoopJob, report: Callable[[CurvePoint], None], should_stop: Callable[[], bool]) -> None:
        config, training = job.config, job.training
        if config.learning_rate is None or config.batch_size is None or config.epochs is None:
            raise ConfigError(f"{config.model_size} needs learning_rate, batch_size and epochs to be trained")
        self.job, self.group = job, current_group()
        self._report, self._should_stop = report, should_stop
        self._peak_rate, self._batch_size = config.learning_rate, config.batch_size
        self._batching = Batching(config.max_length, training.micro_batch_tokens, job.pad_id, job.device, job.dtype)
        self._stepper = Stepper(
            job.network, job.task, job.train, self._batching, training, job.teacher, config.layer_decay or 1.0
        )
        self._schedule = Schedule.of(
            training, rows=len(self._stepper.lengths), batch_size=config.batch_size, epochs=config.epochs
        )
        self.total = self._schedule.total
        self._evaluate_after = evaluation_steps(self.total, training.evaluations)
        self._check_every = 1 if job.device == "cpu" else GPU_CHECK_STEPS
        self.step, self.end = 0, self.total
        self.end_reason = ""
        """Why ``end``, the last step, comes before that of the schedule."""
        self.curve: list[CurvePoint] = []
        self.logits: NDArray[np.float32] | None = None
        self.metrics: dict[str, float] = {}
        # The first step notes what building and the head start cost; states are saved from now on.
        self._saved_at, self._noted_at = time.monotonic(), 0.0

    def begin(self) -> None:
        """Start the head or find a saved state, join the other processes, and resume it."""
        job, found = self.job, self._find()
        if found is None and job.training.head_init == "linear_probe":
            self._start_head()
        self._stepper.connect(self.group, is_sharded=self._is_sharded())
        if found is not None:
            self._resume(*found)

    def steps(self) -> None:
        """All optimiser steps that are left, with the validation passes between them."""
        job, stepper = self.job, self._stepper
        job.network.train()
        while self.step < self.end:
            epoch, first = divmod(self.step, self._schedule.per_epoch)
            plan = plan_steps(stepper.lengths, self._batch_size, seed=job.config.seed, epoch=epoch)
            for rows in plan[first:]:
                stepper.take(rows, self._peak_rate * self._schedule.factor(self.step), job.meter)
                self.step += 1
                self._after_step()
                if self.step == self.end:
                    break

    def _find(self) -> tuple[str, Progress] | None:
        states = self.job.states
        if states is None:
            return None
        carried, found, scarcity = self.group.from_lead(
            (states.spent_before(), states.newest(), states.scarcity()) if self.group.leads else None
        )
        peak = max(carried.peak_bytes, scarcity.peak_bytes)
        self.job.meter.carried = carried.replace(peak_bytes=peak)
        self._stepper.halve(scarcity.halvings)
        return found  # type: ignore[no-any-return]

    def record_oom(self) -> None:
        """Leave word to the next group, which starts because this process leaves the others in an exchange."""
        if self.job.states is not None:
            self.job.states.put_halvings(self._stepper.halvings + 1, self.job.meter.own().peak_bytes)

    def _is_sharded(self) -> bool:
        wish, job = self.job.training.sharding, self.job
        if wish != "auto" or self.group.world == 1:
            return wish == "fsdp"
        return needs_shards(job.network, self.group, memory_bytes(job.device))

    def _resume(self, name: str, progress: Progress) -> None:
        assert self.job.states is not None
        stepper = self._stepper
        self.job.states.restore(name, progress, stepper.network, stepper.optimizer)
        self.step, self.curve = progress.step, list(progress.curve)
        if self.group.leads:
            # Who hears them may be new, too, and judges a trial by its whole curve.
            for point in self.curve:
                self._report(point)
        stepper.loss_sum += progress.loss_sum if self.group.leads else 0.0
        stepper.loss_weight = progress.loss_weight

    def _start_head(self) -> None:
        job = self.job
        probe = initial_head(
            job.network,
            job.task,
            (job.train, job.validation),
            self._batching,
            weights=self._stepper.class_weights,
            probe_cache=None if job.probe_key is None else ProbeCache(job.probe_key, job.activations),
        )
        with job.meter.evaluating():
            scores = self._scored(probe.validation_logits)
        self._tell(0.0, scores, None)

    def _after_step(self) -> None:
        due = self._evaluate_after.get(self.step)
        looks = due is not None or self.step % self._check_every == 0
        if looks:
            # The norm is taken after the exchange: one process's NaN shows on all of them in the same step.
            if not bool(torch.isfinite(self._stepper.norm)):
                raise _NotFiniteError(f"the gradient is not finite at step {self.step} of {self.total}")
            if self.group.total([self._should_stop()])[0] > 0 and self.step < self.end:
                raise _DeadlineError
        if due is not None:
            self._evaluate(due)
        if looks and self.job.states is not None and self.step < self.end:
            self._keep(self.job.states)

    def _evaluate(self, fraction: float) -> None:
        stepper = self._stepper
        loss_sum = self.group.total([float(stepper.loss_sum)])[0]
        scores = self._pass(is_last=self.step == self.end)
        early_stopping = self.job.training.early_stopping
        seen = [point.f1 for point in self.curve if point.step] + [scores.metrics[self.job.metric]]
        if self.step < self.total and stops_early(seen, early_stopping):
            self.end, waited = self.step, 0 if early_stopping is None else early_stopping.patience
            self.end_reason = f"ended itself at {fraction:.0%} of its schedule: no gain in {waited} validation passes"
            scores = self._pass(is_last=True)
        self._tell(fraction, scores, loss_sum / stepper.loss_weight)
        stepper.clear()

    def _pass(self, *, is_last: bool) -> Scores:
        """Score validation: between steps as it is trained, at the end as it will be served."""
        job = self.job
        precision: ComputePrecision = "autocast" if job.dtype == "bf16" else "fp32"
        network: nn.Module = self._stepper.network
        inputs = job.validation
        if is_last:
            self._stepper.disconnect()
            network = job.network
            precision = "bf16" if job.final_precision == "bf16" else "fp32"
            network, inputs = (network, inputs) if job.served is None else job.served()
        with job.meter.evaluating():
            logits = predict(network, inputs, self._batching, precision)
            if not np.isfinite(logits).all():
                raise _NotFiniteError(f"validation logits are not finite at step {self.step} of {self.total}")
            scores = self._scored(logits)
        self.logits, self.metrics = logits, scores.metrics
        return scores

    def _scored(self, logits: NDArray[np.float32]) -> Scores:
        return score(self.job.task, np.asarray(self.job.validation.targets), logits)

    def _tell(self, fraction: float, scores: Scores, train_loss: float | None) -> None:
        point = CurvePoint(
            fraction=fraction,
            f1=scores.metrics[self.job.metric],
            loss=scores.loss,
            train_s=self.job.meter.wall_without_eval_s,
            step=self.step,
            train_loss=train_loss,
        )
        self.curve.append(point)
        if self.job.states is not None and fraction < 1.0:
            # Whoever hears of this point may stop the trial at it: what it has spent must be on storage.
            self._note(self.job.states)
        if self.group.leads:
            self._report(point)

    def _keep(self, states: StateStore) -> None:
        """Note the usage, and save the training state, when rank 0's clock says so; all bring their sums."""
        now = time.monotonic()
        saves = now - self._saved_at >= self.job.training.checkpoint_every_s
        saves, notes = self.group.from_lead((saves, now - self._noted_at >= USAGE_EVERY_S))
        if not (saves or notes):
            return
        self._note(states)
        loss_sum = self.group.total([float(self._stepper.loss_sum)])[0]
        if saves:
            stepper, weight = self._stepper, self._stepper.loss_weight
            progress = Progress(key=states.key, step=self.step, curve=self.curve, loss_sum=loss_sum, loss_weight=weight)
            states.save(stepper.network, stepper.optimizer, progress, self.group)
        self._saved_at = time.monotonic() if saves else self._saved_at

    def _note(self, states: StateStore) -> None:
        usage = session_usage(self.job.meter, self.group)
        if self.group.leads:
            states.put_usage(usage)
        self._noted_at = time.monotonic()
