"""Predict what a configuration will use, from FLOPs and from the trials that finished. Pure; no Ray, no clock.

In: FLOPs and measured Usage. Out: predicted Usage, and its worst case. One straight line ``seconds = a + b x FLOPs``
a device, fitted robustly, so that one trial that shared its cores with something else does not bend it.
"""

from dataclasses import dataclass
from itertools import combinations
from statistics import median

from lft_ray.config.methods import FREEZE, LINEAR_PROBE, LORA
from lft_ray.records import DatasetRecord, TrialConfig, TrialResult, Usage

__all__ = [
    "DEFAULT_RATES", "HEAD_STEP_FLOPS", "WHOLE", "Forecast", "Passes", "Rate", "mean_tokens", "passes_of",
    "schedule_share", "trial_flops",
]  # fmt: skip

HEAD_STEP_FLOPS = 1e7
"""A step of the head alone is nothing but overhead: about 0.5 ms, at the 20 GFLOP/s that a forecast begins with."""


@dataclass(frozen=True, slots=True)
class Passes:
    """Forward passes.

    Attributes:
        step: that a token costs in a training step.
        scoring: that a token costs in a validation pass before the last, which runs the whole network.
        shared: over train and validation, once.
        is_shared: whether one trial makes that pass for all; else each makes its own.
    """

    step: float = 3.0
    scoring: float = 1.0
    shared: float = 0.0
    is_shared: bool = False


WHOLE = Passes()
"""Every weight is trained."""


def passes_of(config: TrialConfig, *, layers: int, hidden: int, is_kept: bool) -> Passes:
    """What a trial of this configuration runs.

    Args:
        config: its method and the parameters of it.
        layers: of the network.
        hidden: its width.
        is_kept: whether what frozen layers answer is kept for all trials.
    """
    if config.method == LINEAR_PROBE:
        return Passes(0.0, 0.0, 1.0, is_kept)
    if config.method == FREEZE:
        below = (config.frozen_layers or 0) / layers
        if is_kept:
            return Passes(3.0 * (1.0 - below), 1.0 - below, below, is_shared=True)
        return Passes(1.0 + 2.0 * (1.0 - below))
    if config.method == LORA:
        # Beside the matrices of a layer, 12 x hidden^2, stand factors of 16 x hidden x rank (hidden to 3 x hidden, and
        # back and forth to 4 x hidden); of the matrices themselves no gradient is computed.
        factors = (config.lora_rank or 0) * 16.0 / (12.0 * hidden)
        return Passes(2.0 + 3.0 * factors, 1.0 + factors)
    return WHOLE


TOKENS_PER_WORD = 1.4
"""An English word makes about 1.3 word pieces; rounded up, since a forecast that is too dear is the safe one."""
SPECIAL_TOKENS = 2
WORST_CASE_FLOOR = 1.3
WORST_CASE_UNMEASURED = 3.0
OVERRUN_GROWTH = 1.5
"""A trial that its promise stopped would have taken longer still: the next is promised this many times what it used."""
SPREAD_FOR_SLOPE = 1.5
"""Below this ratio of largest to smallest FLOPs a slope says more about noise than about work."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A line ``seconds = start_s + FLOPs / flops_per_s``."""

    start_s: float
    flops_per_s: float

    def seconds(self, flops: float) -> float:
        """Seconds for so much work."""
        return self.start_s + flops / self.flops_per_s


DEFAULT_RATES = {
    "cpu": Rate(start_s=10.0, flops_per_s=2e10),
    "cuda": Rate(start_s=15.0, flops_per_s=4e12),
    "linear": Rate(start_s=5.0, flops_per_s=1e8),
}
"""Stated guesses until the first trial of that device is measured, all on the slow side. cpu: 20 GFLOP/s of one core,
what a plain fp32 loop reaches on an old server core. cuda: half of a T4's fp32 peak. linear: TF-IDF, whose time goes
into counting words rather than arithmetic."""


def mean_tokens(dataset: DatasetRecord, max_length: int) -> float:
    """Mean tokens a text after cutting at ``max_length``, from the sample texts or the length quantiles."""
    words: list[float] = [len(text.split()) for text in dataset.sample_texts]
    if not words:
        quantiles = dataset.words_quantiles
        middle, high = quantiles.get("p50", 0.0), quantiles.get("p95", 0.0)
        # 20 points on the polygon through (0, 0), (0.5, p50) and (1, p95): enough for a mean.
        shares = [(i + 0.5) / 20 for i in range(20)]
        words = [2 * q * middle if q <= 0.5 else middle + (q - 0.5) * 2 * (high - middle) for q in shares]
    return sum(min(max_length, w * TOKENS_PER_WORD + SPECIAL_TOKENS) for w in words) / len(words)


def schedule_share(result: TrialResult) -> float:
    """Share of its schedule that a finished trial ran: below 1 where it ended itself on a plateau."""
    return result.curve[-1].fraction if result.curve else 1.0


def trial_flops(
    config: TrialConfig,
    *,
    flops_per_token: float,
    train_tokens: float,
    validation_tokens: float = 0.0,
    evaluations: int = 3,
    variant_tokens: float = 0.0,
    passes: Passes = WHOLE,
) -> float:
    """Floating point operations of a whole trial, but for a pass that one trial makes for all.

    Args:
        config: its epochs count (1 where the model has none).
        flops_per_token: of one forward pass.
        train_tokens: tokens of the train split after cutting.
        validation_tokens: tokens of the validation split after cutting.
        evaluations: validation passes, the one before training included.
        variant_tokens: validation tokens of the passes at the end, over all variants but the reference.
        passes: what the method runs of the network; a training pass of all of it is three forward passes.
    """
    training = passes.step * (config.epochs or 1) * train_tokens
    # The last pass runs the whole network wherever it is served in another precision than it was trained in.
    scored = (passes.scoring * (evaluations - 1) + 1.0) * validation_tokens if evaluations else 0.0
    return flops_per_token * (training + scored + variant_tokens)


class Forecast:
    """Learns, one device at a time, how long work takes.

    Args:
        rates: the guess for each device before anything is measured; unknown devices take that of ``cpu``.
    """

    def __init__(self, rates: dict[str, Rate] | None = None) -> None:
        self._rates = dict(DEFAULT_RATES if rates is None else rates)
        self._seen: dict[str, list[tuple[float, Usage]]] = {}
        self._overrun: dict[str, float] = {}
        # A line through 200 trials takes 10 ms, and a proposal asks for the price of dozens of configurations.
        self._lines: dict[str, tuple[Rate, Rate, Rate]] = {}

    def observe(self, flops: float, usage: Usage, *, device: str = "cpu") -> None:
        """Learn from a trial that ran to its end. Stopped and failed trials say nothing about a full run."""
        self._seen.setdefault(device, []).append((flops, usage))
        self._lines.pop(device, None)

    def observe_unfinished(self, flops: float, usage: Usage, *, device: str = "cpu") -> None:
        """Learn from a trial that ended early only if it took longer than a whole one should: the next may, too."""
        ratio = _larger(usage) / max(_larger(self.predict(flops, device=device)), 1e-9)
        self._overrun[device] = max(self._overrun.get(device, 0.0), OVERRUN_GROWTH * ratio)

    def is_measured(self, device: str = "cpu") -> bool:
        """Whether any trial of this device has finished."""
        return bool(self._seen.get(device))

    def predict(self, flops: float, *, device: str = "cpu") -> Usage:
        """Expected ``core_s``, ``device_s`` and ``wall_s`` of a trial with so much work."""
        seen = self._seen.get(device, [])
        guess = self._rates.get(device, self._rates["cpu"])
        if not seen:
            seconds = guess.seconds(flops)
            on_device = device not in ("cpu", "linear")
            return Usage(core_s=seconds, device_s=seconds if on_device else 0.0, wall_s=seconds)
        if device not in self._lines:
            self._lines[device] = (
                _fit([(f, u.core_s) for f, u in seen], guess),
                _fit([(f, u.device_s) for f, u in seen], guess),
                _fit([(f, u.wall_s) for f, u in seen], guess),
            )
        core, device_line, wall = self._lines[device]
        return Usage(core_s=core.seconds(flops), device_s=device_line.seconds(flops), wall_s=wall.seconds(flops))

    def worst_case_factor(self, device: str = "cpu") -> float:
        """How much dearer than predicted a trial may become.

        3 before anything is measured (more once a trial has overrun that); then the worst ratio of measured to fitted
        seconds seen so far (at least 1.3), widened by 1 + 1/n for n trials, because few trials have not shown their
        worst yet.
        """
        seen = self._seen.get(device, [])
        if not seen:
            return max(WORST_CASE_UNMEASURED, self._overrun.get(device, 0.0))
        ratios = [_larger(u) / max(_larger(self.predict(f, device=device)), 1e-9) for f, u in seen]
        return max(WORST_CASE_FLOOR, *ratios) * (1.0 + 1.0 / len(seen))

    def worst_case(self, flops: float, *, device: str = "cpu", retries: int = 0, lost_s: float = 0.0) -> Usage:
        """Most that a trial is expected to use, its retries counted.

        Args:
            flops: see `trial_flops`.
            device: key of the rates.
            retries: how often the trial may be started again.
            lost_s: wall seconds that one crash can cost, such as the checkpoint interval plus start-up; never more
                than the trial itself.
        """
        expected = self.predict(flops, device=device)
        wall_s = max(expected.wall_s, 1e-9)
        scale = self.worst_case_factor(device) * (1.0 + retries * min(lost_s, wall_s) / wall_s)
        return Usage(core_s=expected.core_s * scale, device_s=expected.device_s * scale, wall_s=expected.wall_s * scale)


def _larger(usage: Usage) -> float:
    return max(usage.core_s, usage.device_s)


def _fit(points: list[tuple[float, float]], guess: Rate) -> Rate:
    """Theil-Sen line through (FLOPs, seconds); the guess, scaled to pass through the middle, where that is not safe."""
    scale = median(seconds / guess.seconds(flops) for flops, seconds in points)
    if scale <= 0.0:
        return Rate(start_s=0.0, flops_per_s=float("inf"))
    scaled = Rate(start_s=guess.start_s * scale, flops_per_s=guess.flops_per_s / scale)
    work = [flops for flops, _ in points]
    if len(points) < 3 or max(work) < SPREAD_FOR_SLOPE * min(work):
        return scaled
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x1 != x2]
    slope = median(slopes)
    if slope <= 0.0:
        return scaled
    start_s = median(seconds - slope * flops for flops, seconds in points)
    return Rate(start_s=max(0.0, start_s), flops_per_s=1.0 / slope)
