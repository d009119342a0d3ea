"""Measure what a trial uses, and stop the trial before it exceeds its allowance.

In: the clocks and memory counters of this process; for totals over several processes, their group. Out: `Usage`, and
`UsageLimit`'s verdict. CPU seconds are those of the whole process with all its threads, so they stay meaningful on a
shared machine, where wall-clock seconds do not. A warm worker runs many trials: every reading is a difference from the
trial's start. Light to import: torch is imported when a function needs it. Never prices anything.
"""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lft_ray.records import Usage
from lft_ray.run.ledger import Allowance

if TYPE_CHECKING:
    from lft_ray.train.device.process_group import Group

__all__ = ["Meter", "UsageLimit", "add_usage", "session_usage", "shared_usage"]


def add_usage(first: Usage, second: Usage) -> Usage:
    """Sum of two usages; ``peak_bytes`` is the larger of the two peaks."""
    summed = {name: getattr(first, name) + getattr(second, name) for name in Usage.model_fields if name != "peak_bytes"}
    return Usage(**summed, peak_bytes=max(first.peak_bytes, second.peak_bytes))


class Meter:
    """Measures the usage of this process, starting at construction.

    Args:
        device: "cpu" or "cuda...".
        device_share: share of the GPU that this process holds; device seconds are wall-clock seconds times this share.
        whole_process: whether the process was started for this trial, so that its imports count towards the trial.
    """

    def __init__(self, device: str = "cpu", device_share: float = 1.0, *, whole_process: bool = False) -> None:
        self._on_device = device.startswith("cuda")
        self._share = device_share if self._on_device else 0.0
        self._wall = time.monotonic()
        self._cpu = 0.0 if whole_process else time.process_time()
        self._eval_s = 0.0
        self._train_s = 0.0
        self._tokens = 0
        self._padded = 0
        self.carried = Usage()
        """Usage of earlier processes of the trial, including earlier attempts."""
        _reset_peak(self._on_device)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Count the wall-clock seconds inside this context as evaluation."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._eval_s += time.monotonic() - begin

    @contextmanager
    def training(self) -> Iterator[None]:
        """Count the wall-clock seconds inside this context as training, except for evaluation nested in it."""
        begin, eval_before = time.monotonic(), self._eval_s
        try:
            yield
        finally:
            self._train_s += time.monotonic() - begin - (self._eval_s - eval_before)

    def count(self, real: int, padded: int) -> None:
        """Add the tokens of a training step: ``real`` ones, and ``padded`` ones including padding."""
        self._tokens += real
        self._padded += padded

    @property
    def wall_without_eval_s(self) -> float:
        """Wall-clock seconds since the trial began, without evaluation, including earlier attempts."""
        return self.carried.wall_s - self.carried.eval_s + time.monotonic() - self._wall - self._eval_s

    def busy_s(self, *, processes: int = 1, before: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
        """(core seconds, device seconds) so far, including earlier attempts.

        Args:
            processes: number of processes in the trial, each assumed to use as much as this one.
            before: upper bound on the usage of earlier attempts, as (core seconds, device seconds). Applies where it is
                larger than the usage they recorded, since a crash loses the last seconds before it.
        """
        core_s, device_s = time.process_time() - self._cpu, (time.monotonic() - self._wall) * self._share
        carried = max(self.carried.core_s, before[0]), max(self.carried.device_s, before[1])
        return carried[0] + processes * core_s, carried[1] + processes * device_s

    def own(self) -> Usage:
        """Usage of this process alone, since construction."""
        wall = time.monotonic() - self._wall
        return Usage(
            core_s=time.process_time() - self._cpu,
            device_s=wall * self._share,
            wall_s=wall,
            train_s=self._train_s,
            eval_s=self._eval_s,
            tokens=self._tokens,
            padded_tokens=self._padded,
            peak_bytes=_peak_bytes(self._on_device),
        )


class UsageLimit:
    """Decides when a trial must stop so that it does not exceed its allowance.

    The limit is checked between steps, and a validation pass may run between two checks. The trial therefore stops
    early, by the largest usage observed between two checks.

    Args:
        meter: the trial's meter.
        allowance: what the trial may use; None means no limit.
        processes: number of processes in the trial, each assumed to use as much as this one.
    """

    def __init__(self, meter: Meter, allowance: Allowance | None, *, processes: int = 1) -> None:
        self.was_over = False
        self._meter = meter
        self._allowance = allowance
        self._processes = processes
        self._last: tuple[float, float] | None = None
        self._widest = (0.0, 0.0)

    def is_over(self) -> bool:
        """Whether the next step could exceed the allowance."""
        if self._allowance is None:
            return False
        allowed = self._allowance
        used = self._meter.busy_s(processes=self._processes, before=(allowed.used_core_s, allowed.used_device_s))
        # Usage before the first check is start-up (imports, weights, the probe), which does not recur.
        if self._last is not None:
            gap = (used[0] - self._last[0], used[1] - self._last[1])
            self._widest = (max(self._widest[0], gap[0]), max(self._widest[1], gap[1]))
        self._last = used
        limits = (allowed.core_s, allowed.device_s)
        ends = zip(used, self._widest, limits, strict=True)
        self.was_over = any(limit is not None and spent + gap > limit for spent, gap, limit in ends)
        return self.was_over


def _reset_peak(on_device: bool) -> None:
    # Writing 5 resets the process's peak memory on Linux; elsewhere the peak is that of the process's whole life.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if on_device:
        import torch

        torch.cuda.reset_peak_memory_stats()


def _peak_bytes(on_device: bool) -> int:
    if on_device:
        import torch

        return int(torch.cuda.max_memory_allocated())
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def shared_usage(meter: Meter) -> Usage:
    """Usage of all processes of the trial so far, including those before a resume; every process must call this.

    Wall-clock seconds are this process's own; the peak is the largest over the processes.
    """
    # This module imports torch, which the search, using only `add_usage`, must not wait for.
    from lft_ray.train.device.process_group import current_group

    return add_usage(meter.carried, session_usage(meter, current_group()))


def session_usage(meter: Meter, group: "Group") -> Usage:
    """Usage of all processes since this session of the trial began, equal on each; every process must call this."""
    mine = meter.own()
    summed = ("core_s", "device_s", "tokens", "padded_tokens")
    core_s, device_s, tokens, padded = group.all_sum([getattr(mine, name) for name in summed])
    return mine.replace(
        core_s=core_s,
        device_s=device_s,
        tokens=int(tokens),
        padded_tokens=int(padded),
        peak_bytes=int(group.all_max(mine.peak_bytes)),
    )
