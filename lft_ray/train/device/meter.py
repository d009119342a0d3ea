"""What a trial uses up in this process. Out: `Usage`. Never prices, never talks to other processes.

Processor seconds are those of the whole process with all its threads, so they hold on a shared machine where wall
seconds do not. A warm worker runs many trials: every reading is a difference from the trial's start.
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
    """Sum of two usages; the peak is the greater one."""
    summed = {name: getattr(first, name) + getattr(second, name) for name in Usage.model_fields if name != "peak_bytes"}
    return Usage(**summed, peak_bytes=max(first.peak_bytes, second.peak_bytes))


class Meter:
    """Measures from construction on.

    Args:
        device: "cpu" or "cuda...".
        device_share: share of the accelerator that this process holds; its wall seconds count that much.
        whole_process: the process was started for this trial alone, so its imports are the trial's expense too.
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
        """What earlier processes spent on the same attempt or on attempts before it."""
        _reset_peak(self._on_device)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Count the wall seconds inside as evaluation."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._eval_s += time.monotonic() - begin

    @contextmanager
    def training(self) -> Iterator[None]:
        """Count the wall seconds inside as training, evaluation inside left out."""
        begin, eval_before = time.monotonic(), self._eval_s
        try:
            yield
        finally:
            self._train_s += time.monotonic() - begin - (self._eval_s - eval_before)

    def count(self, real: int, padded: int) -> None:
        """Add tokens trained on."""
        self._tokens += real
        self._padded += padded

    @property
    def wall_without_eval_s(self) -> float:
        """Wall seconds since the trial began, evaluation left out, earlier attempts included."""
        return self.carried.wall_s - self.carried.eval_s + time.monotonic() - self._wall - self._eval_s

    def busy_s(self, *, processes: int = 1, before: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
        """(core seconds, device seconds) so far, earlier attempts included.

        Args:
            processes: that work as this one does.
            before: what earlier attempts used at most; counts where it is more than what they could save.
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
    """Says when a trial must stop so as not to use more than it was promised.

    It looks between steps, and a validation pass can lie between two looks: so it stops one widest gap early.

    Args:
        meter: of the trial.
        allowance: what it may use; None: never stop.
        processes: processes that work as this one does.
    """

    def __init__(self, meter: Meter, allowance: Allowance | None, *, processes: int = 1) -> None:
        self.was_over = False
        self._meter = meter
        self._allowance = allowance
        self._processes = processes
        self._last: tuple[float, float] | None = None
        self._widest = (0.0, 0.0)

    def is_over(self) -> bool:
        """Whether the next step could use up more than is allowed."""
        if self._allowance is None:
            return False
        allowed = self._allowance
        used = self._meter.busy_s(processes=self._processes, before=(allowed.used_core_s, allowed.used_device_s))
        # The gap before the first look is the start: libraries, weights and the probe, which do not come again.
        if self._last is not None:
            gap = (used[0] - self._last[0], used[1] - self._last[1])
            self._widest = (max(self._widest[0], gap[0]), max(self._widest[1], gap[1]))
        self._last = used
        limits = (allowed.core_s, allowed.device_s)
        ends = zip(used, self._widest, limits, strict=True)
        self.was_over = any(limit is not None and spent + gap > limit for spent, gap, limit in ends)
        return self.was_over


def _reset_peak(on_device: bool) -> None:
    # 5 resets the high-water mark of this process (Linux); elsewhere the peak of the process's life stands.
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
    """Usage of all processes of the trial so far, those before a resume included; every process must call it.

    Wall seconds are this process's own, the peak is the greatest of them.
    """
    # Its module loads torch, which the search, that only adds usages, must not wait for.
    from lft_ray.train.device.process_group import current_group

    return add_usage(meter.carried, session_usage(meter, current_group()))


def session_usage(meter: Meter, group: "Group") -> Usage:
    """Usage of all processes since this session of the trial began, the same on each; every process must call it."""
    mine = meter.own()
    summed = ("core_s", "device_s", "tokens", "padded_tokens")
    core_s, device_s, tokens, padded = group.total([getattr(mine, name) for name in summed])
    return mine.replace(
        core_s=core_s,
        device_s=device_s,
        tokens=int(tokens),
        padded_tokens=int(padded),
        peak_bytes=int(group.largest(mine.peak_bytes)),
    )
