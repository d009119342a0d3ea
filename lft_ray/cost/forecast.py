"""Predict the resource usage of trials from FLOPs and from the trials that finished. Pure; never uses Ray or a clock.

In: FLOPs and measured Usage. Out: predicted Usage, and its worst case. `trial_flops` and `passes_of` count the work of
a configuration; `Forecast` fits one line ``seconds = a + b x FLOPs`` per device, robustly, so that a single trial that
shared its cores with another process does not bend it.
"""

from dataclasses import dataclass
from itertools import combinations
from statistics import median

from lft_ray.config.methods import FREEZE, LINEAR_PROBE, LORA
from lft_ray.models.passages import window_starts
from lft_ray.records import DatasetRecord, TrialConfig, TrialResult, Usage
from lft_ray.scripts import SPECIAL_TOKENS, TOKENS_PER_WORD, rough_tokens
from lft_ray.tasks.find import head_of
from lft_ray.texts import Text, whole

__all__ = [
    "DEFAULT_RATES",
    "FULL_FINE_TUNING",
    "HEAD_STEP_FLOPS",
    "Forecast",
    "Passes",
    "Rate",
    "mean_tokens",
    "passes_of",
    "schedule_share",
    "trial_flops",
]  # fmt: skip

HEAD_STEP_FLOPS = 1e7
"""A step that trains only the head is pure overhead: about 0.5 ms, expressed at the initial rate of 20 GFLOP/s."""


@dataclass(frozen=True, slots=True)
class Passes:
    """Work of a training method, in forward passes of the whole network.

    Attributes:
        step: forward passes per token of a training step.
        scoring: forward passes per token of a validation pass, except the last, which always runs the whole network.
        shared: forward passes over train and validation that are made once, to cache activations.
        is_shared: whether all trials share the cached pass; otherwise each trial makes its own.
    """

    step: float = 3.0
    scoring: float = 1.0
    shared: float = 0.0
    is_shared: bool = False


FULL_FINE_TUNING = Passes()
"""Every weight is trained: a backward pass costs two forward passes."""


def passes_of(config: TrialConfig, *, layers: int, hidden: int, is_cached: bool) -> Passes:
    """Forward passes of a trial of this configuration.

    Args:
        config: trial configuration; its method and the hyperparameters of the method count.
        layers: number of layers of the network.
        hidden: hidden size of the network.
        is_cached: whether frozen-layer activations are cached and shared by all trials.
    """
    if config.method == LINEAR_PROBE:
        return Passes(0.0, 0.0, 1.0, is_cached)
    if config.method == FREEZE:
        below = (config.frozen_layers or 0) / layers
        if is_cached:
            return Passes(3.0 * (1.0 - below), 1.0 - below, below, is_shared=True)
        return Passes(1.0 + 2.0 * (1.0 - below))
    if config.method == LORA:
        # Beside the matrices of a layer, 12 x hidden^2, stand factors of 16 x hidden x rank (hidden to 3 x hidden, and
        # back and forth to 4 x hidden); of the matrices themselves no gradient is computed.
        factors = (config.lora_rank or 0) * 16.0 / (12.0 * hidden)
        return Passes(2.0 + 3.0 * factors, 1.0 + factors)
    return FULL_FINE_TUNING


MIN_WORST_CASE_FACTOR = 1.3
"""Worst case relative to the prediction, however well the measurements agree."""
UNMEASURED_WORST_CASE_FACTOR = 3.0
"""Worst case relative to the prediction before the first measurement."""
OVERRUN_GROWTH = 1.5
"""A trial stopped at its reservation would have taken longer: the next one reserves this many times what it used."""
MIN_SPREAD_FOR_SLOPE = 1.5
"""Ratio of largest to smallest FLOPs below which a fitted slope reflects noise rather than work."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Linear model of duration: ``seconds = start_s + FLOPs / flops_per_s``."""

    start_s: float
    flops_per_s: float

    def seconds(self, flops: float) -> float:
        """Predicted seconds for a number of FLOPs."""
        return self.start_s + flops / self.flops_per_s


PAIR_TOKENS = 3
"""Special tokens of two texts that are read as one sequence."""

DEFAULT_RATES = {
    "cpu": Rate(start_s=10.0, flops_per_s=2e10),
    "cuda": Rate(start_s=15.0, flops_per_s=4e12),
    "linear": Rate(start_s=5.0, flops_per_s=1e8),
}
"""Initial guesses per device, until its first trial is measured; all deliberately slow. cpu: 20 GFLOP/s on one core, as
a plain fp32 loop reaches on an old server core. cuda: half of a T4's fp32 peak. linear: TF-IDF, which spends its time
counting words rather than on arithmetic."""


def mean_tokens(dataset: DatasetRecord, max_length: int) -> float:
    """Mean tokens per text after truncation to ``max_length``, from the sample texts or else the length quantiles."""
    if dataset.sample_texts:
        read = _in_windows if head_of(dataset.task_kind) == "tokens" else _truncated
        tokens = [read(text, max_length) for text in dataset.sample_texts]
        return sum(tokens) / len(tokens)
    quantiles = dataset.words_quantiles
    middle, high = quantiles.get("p50", 0.0), quantiles.get("p95", 0.0)
    # 20 points on the piecewise linear quantile function through (0, 0), (0.5, p50) and (1, p95).
    shares = [(i + 0.5) / 20 for i in range(20)]
    words = [2 * q * middle if q <= 0.5 else middle + (q - 0.5) * 2 * (high - middle) for q in shares]
    return sum(min(max_length, w * TOKENS_PER_WORD + SPECIAL_TOKENS) for w in words) / len(words)


def _truncated(text: Text, max_length: int) -> float:
    return min(max_length, rough_tokens(whole(text)))


def _in_windows(text: Text, max_length: int) -> float:
    """Tokens of all windows of a context, each with the whole question."""
    question, context = ("", text) if isinstance(text, str) else text
    asked, told = (max(0.0, rough_tokens(part) - SPECIAL_TOKENS) for part in (question, context))
    asked = min(asked, max_length / 2)
    part = max(1, round(max_length - asked - PAIR_TOKENS))
    starts = window_starts(round(told), part)
    read = sum(min(part, round(told) - start) for start in starts)
    return read + len(starts) * (asked + PAIR_TOKENS)


def schedule_share(result: TrialResult) -> float:
    """Share of its schedule that a finished trial ran: below 1 after early stopping."""
    return result.curve[-1].fraction if result.curve else 1.0


def trial_flops(
    config: TrialConfig,
    *,
    flops_per_token: float,
    train_tokens: float,
    validation_tokens: float = 0.0,
    evaluations: int = 3,
    variant_tokens: float = 0.0,
    passes: Passes = FULL_FINE_TUNING,
) -> float:
    """FLOPs of a whole trial, without the pass that is shared between trials.

    Args:
        config: trial configuration; gives the number of epochs (1 for models without epochs).
        flops_per_token: FLOPs per token of one forward pass.
        train_tokens: tokens of the train split after truncation.
        validation_tokens: tokens of the validation split after truncation.
        evaluations: number of validation passes, the one before training included.
        variant_tokens: validation tokens of the final passes, over all variants except the reference.
        passes: forward passes of the training method; a full training step costs three.
    """
    training = passes.step * (config.epochs or 1) * train_tokens
    # The last pass always runs the whole network, at the precision in which it is served.
    scored = (passes.scoring * (evaluations - 1) + 1.0) * validation_tokens if evaluations else 0.0
    return flops_per_token * (training + scored + variant_tokens)


class Forecast:
    """Learns how long work takes, separately for each device.

    Args:
        rates: initial guess for each device; unknown devices use that of ``cpu``.
    """

    def __init__(self, rates: dict[str, Rate] | None = None) -> None:
        self._rates = dict(DEFAULT_RATES if rates is None else rates)
        self._observed: dict[str, list[tuple[float, Usage]]] = {}
        self._overrun: dict[str, float] = {}
        # Cached fits: a fit through 200 trials takes 10 ms, and each proposal prices dozens of configurations.
        self._lines: dict[str, tuple[Rate, Rate, Rate]] = {}

    def observe(self, flops: float, usage: Usage, *, device: str = "cpu") -> None:
        """Learn from a completed trial. Stopped and failed trials carry no information about a full run."""
        self._observed.setdefault(device, []).append((flops, usage))
        self._lines.pop(device, None)

    def observe_unfinished(self, flops: float, usage: Usage, *, device: str = "cpu") -> None:
        """Learn from an unfinished trial only if it already took longer than predicted for a full one."""
        ratio = _busy_s(usage) / max(_busy_s(self.predict(flops, device=device)), 1e-9)
        self._overrun[device] = max(self._overrun.get(device, 0.0), OVERRUN_GROWTH * ratio)

    def is_measured(self, device: str = "cpu") -> bool:
        """Whether any trial on this device has been observed."""
        return bool(self._observed.get(device))

    def predict(self, flops: float, *, device: str = "cpu") -> Usage:
        """Expected ``core_s``, ``device_s`` and ``wall_s`` of a trial with ``flops`` FLOPs."""
        seen = self._observed.get(device, [])
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
        """Ratio of worst-case to predicted cost of a trial.

        3 before anything is measured (more once a trial has exceeded that); then the worst observed ratio of measured
        to fitted seconds (at least 1.3), widened by 1 + 1/n for n trials, because few trials underestimate the worst
        case.
        """
        seen = self._observed.get(device, [])
        if not seen:
            return max(UNMEASURED_WORST_CASE_FACTOR, self._overrun.get(device, 0.0))
        ratios = [_busy_s(u) / max(_busy_s(self.predict(f, device=device)), 1e-9) for f, u in seen]
        return max(MIN_WORST_CASE_FACTOR, *ratios) * (1.0 + 1.0 / len(seen))

    def worst_case(self, flops: float, *, device: str = "cpu", retries: int = 0, lost_s: float = 0.0) -> Usage:
        """Worst-case usage of a trial, retries included.

        Args:
            flops: FLOPs of the trial; see `trial_flops`.
            device: key of the rates.
            retries: how often the trial may be restarted.
            lost_s: wall-clock seconds that one crash can lose, such as the checkpoint interval plus start-up; capped
                at the duration of the trial.
        """
        expected = self.predict(flops, device=device)
        wall_s = max(expected.wall_s, 1e-9)
        scale = self.worst_case_factor(device) * (1.0 + retries * min(lost_s, wall_s) / wall_s)
        return Usage(core_s=expected.core_s * scale, device_s=expected.device_s * scale, wall_s=expected.wall_s * scale)


def _busy_s(usage: Usage) -> float:
    """Seconds of the resource that a trial uses most."""
    return max(usage.core_s, usage.device_s)


def _fit(points: list[tuple[float, float]], guess: Rate) -> Rate:
    """Theil-Sen line through (FLOPs, seconds); with too little spread, the initial guess scaled to the median."""
    scale = median(seconds / guess.seconds(flops) for flops, seconds in points)
    if scale <= 0.0:
        return Rate(start_s=0.0, flops_per_s=float("inf"))
    scaled = Rate(start_s=guess.start_s * scale, flops_per_s=guess.flops_per_s / scale)
    work = [flops for flops, _ in points]
    if len(points) < 3 or max(work) < MIN_SPREAD_FOR_SLOPE * min(work):
        return scaled
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x1 != x2]
    slope = median(slopes)
    if slope <= 0.0:
        return scaled
    start_s = median(seconds - slope * flops for flops, seconds in points)
    return Rate(start_s=max(0.0, start_s), flops_per_s=1.0 / slope)
