"""The training loop, in plain PyTorch. In: network, tokens, configuration. Out: a learning curve, a trained network.

The same code runs in one process on a CPU core or a GPU, and in several processes if torch.distributed is initialised.
`Stepper` makes the single steps, and a `StateStore` saves the state. Never reads text, never writes results.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lft_ray.data.batches import plan_steps
from lft_ray.errors import ConfigError, first_line
from lft_ray.records import CurvePoint, TrialStatus, Usage
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
"""Minimum seconds between two usage records: the usage that a crash can hide from the budget."""
GPU_CHECK_STEPS = 16
"""Steps between checks of deadline, clock and gradient norm on a GPU, since each check waits for the device."""


class _NotFiniteError(Exception):
    """The gradient or the validation logits overflowed: the configuration cannot be trained."""


class _StopError(Exception):
    """``should_stop`` returned True."""


def train(job: LoopJob, report: Callable[[CurvePoint], None], should_stop: Callable[[], bool]) -> LoopResult:
    """Train ``job.network`` in place.

    Args:
        job: network, data and settings.
        report: called on rank 0 with every new point of the curve, including fraction 0 (the probe) and 1.
        should_stop: called at every step (on a GPU at every 16th); True ends the run as stopped.

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
    except _StopError:
        status, reason = TrialStatus.STOPPED, f"stopped at the deadline, at step {run.step} of {run.total}"
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error) and run.group.world > 1:
            run.record_oom()
        if not is_out_of_memory(error) or run.group.world > 1:
            raise
        status, reason = TrialStatus.INFEASIBLE, f"out of memory outside the training passes: {first_line(error)}"
    usage = shared_usage(job.meter)
    done = status is TrialStatus.DONE
    return LoopResult(status, reason, run.curve, run.logits if done else None, run.metrics if done else {}, usage)


def evaluation_steps(total: int, evaluations: int) -> dict[int, float]:
    """Map each step that validation follows to its fraction of the schedule; the last entry is ``total``: 1.0."""
    return {max(1, round(total * i / evaluations)): i / evaluations for i in range(1, evaluations + 1)}


class _Run:
    """One run of the training loop, with the state that changes from step to step."""

    def __init__(self, job: LoopJob, report: Callable[[CurvePoint], None], should_stop: Callable[[], bool]) -> None:
        config, training = job.config, job.training
        if config.learning_rate is None or config.batch_size is None or config.epochs is None:
            raise ConfigError(f"training {config.model_size} requires learning_rate, batch_size and epochs")
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
        """Why ``end``, the last step of the run, precedes that of the schedule."""
        self.curve: list[CurvePoint] = []
        self.logits: NDArray[np.float32] | None = None
        self.metrics: dict[str, float] = {}
        # 0.0: usage is recorded at the first check, since building and the probe have cost something already.
        self._saved_at, self._recorded_at = time.monotonic(), 0.0

    def begin(self) -> None:
        """Find a saved state or initialise the head, join the other processes, and resume the state."""
        job, found = self.job, self._find()
        if found is None and job.training.head_init == "linear_probe":
            self._initialise_head()
        self._stepper.connect(self.group, is_sharded=self._is_sharded())
        if found is not None:
            self._resume(*found)

    def steps(self) -> None:
        """Run the remaining optimiser steps, with the validation passes between them."""
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
        carried, found, oom_record = self.group.broadcast(
            (states.earlier_usage(), states.newest(), states.oom_record()) if self.group.is_lead else None
        )
        peak = max(carried.peak_bytes, oom_record.peak_bytes)
        self.job.meter.carried = carried.replace(peak_bytes=peak)
        self._stepper.halve(oom_record.halvings)
        return found  # type: ignore[no-any-return]

    def record_oom(self) -> None:
        """Record the out-of-memory error for the restarted group: this process leaves the others in a collective."""
        if self.job.states is not None:
            self.job.states.put_oom_record(self._stepper.halvings + 1, self.job.meter.own().peak_bytes)

    def _is_sharded(self) -> bool:
        job, sharding = self.job, self.job.training.sharding
        if sharding != "auto" or self.group.world == 1:
            return sharding == "fsdp"
        return needs_shards(job.network, self.group, memory_bytes(job.device))

    def _resume(self, name: str, progress: Progress) -> None:
        assert self.job.states is not None
        stepper = self._stepper
        self.job.states.restore(name, progress, stepper.network, stepper.optimizer)
        self.step, self.curve = progress.step, list(progress.curve)
        if self.group.is_lead:
            # The receiver may have restarted as well, and stop rules judge a trial by its whole curve.
            for point in self.curve:
                self._report(point)
        stepper.loss_sum += progress.loss_sum if self.group.is_lead else 0.0
        stepper.loss_weight = progress.loss_weight

    def _initialise_head(self) -> None:
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
        self._add_point(0.0, scores, None)

    def _after_step(self) -> None:
        due = self._evaluate_after.get(self.step)
        is_check_due = due is not None or self.step % self._check_every == 0
        if is_check_due:
            # The norm is computed after the gradient exchange, so a NaN on one process shows on all in the same step.
            if not bool(torch.isfinite(self._stepper.norm)):
                raise _NotFiniteError(f"the gradient is not finite at step {self.step} of {self.total}")
            if self.group.all_sum([self._should_stop()])[0] > 0 and self.step < self.end:
                raise _StopError
        if due is not None:
            self._evaluate(due)
        if is_check_due and self.job.states is not None and self.step < self.end:
            self._save_if_due(self.job.states)

    def _evaluate(self, fraction: float) -> None:
        stepper = self._stepper
        loss_sum = self.group.all_sum([float(stepper.loss_sum)])[0]
        scores = self._validate(is_last=self.step == self.end)
        early_stopping = self.job.training.early_stopping
        # Without the probe at step 0: a trained network may be worse than the probe at first.
        observed = [point.f1 for point in self.curve if point.step] + [scores.metrics[self.job.metric]]
        if self.step < self.total and stops_early(observed, early_stopping):
            self.end, patience = self.step, 0 if early_stopping is None else early_stopping.patience
            self.end_reason = (
                f"stopped early at {fraction:.0%} of the schedule: no improvement in {patience} validation passes"
            )
            # This pass scored the network as it is trained; the last one must score it as it will be served.
            scores = self._validate(is_last=True)
        self._add_point(fraction, scores, loss_sum / stepper.loss_weight)
        stepper.clear()

    def _validate(self, *, is_last: bool) -> Scores:
        """Score the validation split: between steps in the training precision, at the end as it will be served."""
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
        return score(self.job.task, np.asarray(self.job.validation.truth), logits)

    def _add_point(self, fraction: float, scores: Scores, train_loss: float | None) -> None:
        usage = session_usage(self.job.meter, self.group)
        point = CurvePoint(
            fraction=fraction,
            f1=scores.metrics[self.job.metric],
            loss=scores.loss,
            train_s=self.job.meter.wall_without_eval_s,
            step=self.step,
            train_loss=train_loss,
            learning_rate=self._peak_rate * self._schedule.factor(self.step - 1) if self.step else None,
            core_s=self.job.meter.carried.core_s + usage.core_s,
        )
        self.curve.append(point)
        if self.job.states is not None and fraction < 1.0:
            # A stop rule may end the trial at this point, so its usage must already be on storage.
            self._put_usage(self.job.states, usage)
        if self.group.is_lead:
            self._report(point)

    def _save_if_due(self, states: StateStore) -> None:
        """Record the usage and save the training state when due by rank 0's clock; every process must call this."""
        now = time.monotonic()
        is_save_due = now - self._saved_at >= self.job.training.checkpoint_every_s
        is_save_due, is_record_due = self.group.broadcast((is_save_due, now - self._recorded_at >= USAGE_EVERY_S))
        if not (is_save_due or is_record_due):
            return
        self._put_usage(states, session_usage(self.job.meter, self.group))
        loss_sum = self.group.all_sum([float(self._stepper.loss_sum)])[0]
        if is_save_due:
            stepper, weight = self._stepper, self._stepper.loss_weight
            progress = Progress(key=states.key, step=self.step, curve=self.curve, loss_sum=loss_sum, loss_weight=weight)
            states.save(stepper.network, stepper.optimizer, progress, self.group)
        self._saved_at = time.monotonic() if is_save_due else self._saved_at

    def _put_usage(self, states: StateStore, usage: Usage) -> None:
        if self.group.is_lead:
            states.put_usage(usage)
        self._recorded_at = time.monotonic()
