"""Format numbers, variants and training methods for people. In: a measured value or None. Out: text.

A value that was not measured is shown as a dash, never as a zero.
"""

import math
from collections.abc import Iterable, Sequence

from lft_ray.config.methods import FULL
from lft_ray.records import FrontPoint, ScoredVariant, TrialConfig, TrialRecord

__all__ = [
    "DASH", "Naming", "count", "duration", "interval", "learning_rate", "method", "milliseconds", "notable_method",
    "percent", "points_interval", "score", "signed_points", "usd", "variant_text",
]  # fmt: skip


DASH = "–"  # noqa: RUF001
"""Shown for a value that was not measured."""


def variant_text(point: "FrontPoint | ScoredVariant") -> str:
    """Precision and maximum length: ``bf16, 64 tokens``."""
    return f"{point.precision}, {point.max_length} tokens"


class Naming:
    """Formats variants of one study, if there are several.

    Args:
        records: records of the study.

    Attributes:
        several: whether any trial has more than one variant.
    """

    def __init__(self, records: Iterable[TrialRecord]) -> None:
        self.several = any(len(record.variants) > 1 for record in records)

    def __call__(self, point: "FrontPoint | ScoredVariant") -> str:
        """Return `variant_text` if the study has several variants per trial, else an empty string."""
        return variant_text(point) if self.several else ""


def _missing(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def score(value: float | None, digits: int = 4) -> str:
    """Format an F1: ``0.9123``."""
    return DASH if value is None or _missing(value) else f"{value:.{digits}f}"


def interval(ends: Sequence[float] | None, digits: int = 3) -> str:
    """Format an interval: ``0.890 to 0.930``."""
    if ends is None or any(_missing(end) for end in ends):
        return DASH
    low, high = ends
    return f"{low:.{digits}f} to {high:.{digits}f}"


def points_interval(ends: Sequence[float] | None) -> str:
    """Format an interval of a difference in percentage points, with signs: ``-0.4 to +19.1``."""
    return DASH if ends is None else " to ".join(signed_points(end) for end in ends)


def signed_points(difference: float) -> str:
    """Format a difference of two F1 in percentage points: ``+9.2``."""
    return f"{difference * 100 + 0.0:+.1f}".replace("-0.0", "+0.0")


def usd(value: float | None) -> str:
    """Format dollars with three significant digits, or whole dollars from 100 on: ``$0.0412``."""
    if value is None or _missing(value):
        return DASH
    if value == 0:
        return "$0"
    if abs(value) >= 100:
        return f"${value:,.0f}"
    digits = 2 if abs(value) >= 1 else min(9, 2 - math.floor(math.log10(abs(value))))
    return f"${value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Format seconds as ``0.4 s``, ``12 s``, ``4 min 05 s`` or ``1 h 12 min``."""
    if seconds is None or _missing(seconds):
        return DASH
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def milliseconds(value: float | None) -> str:
    """Format milliseconds: ``6.2 ms``, ``48 ms``."""
    if value is None or _missing(value):
        return DASH
    return f"{value:.1f} ms" if value < 10 else f"{value:,.0f} ms"


def count(value: float | None) -> str:
    """Format a whole number with thousands separators: ``120,000``."""
    return DASH if value is None or _missing(value) else f"{value:,.0f}"


def percent(share: float | None, digits: int = 0) -> str:
    """Format a fraction as a percentage: ``62%``."""
    return DASH if share is None or _missing(share) else f"{share * 100:.{digits}f}%"


def method(config: TrialConfig) -> str:
    """Describe the training method: ``full``, ``distill from t005``, ``freeze 2``, ``lora rank 8 alpha 16``."""
    words = [config.method]
    if config.teacher:
        words.append(f"from {config.teacher}")
    if config.frozen_layers is not None:
        words.append(str(config.frozen_layers))
    if config.lora_rank is not None:
        words.append(f"rank {config.lora_rank} alpha {config.lora_alpha or 0:g}")
    if config.layer_decay is not None:
        words.append(f"layer decay {config.layer_decay:g}")
    if config.class_weights == "balanced":
        words.append("balanced")
    return " ".join(words)


def notable_method(config: TrialConfig) -> str:
    """Describe the training method as `method` does, or return an empty string for plain fine-tuning."""
    return "" if method(config) == FULL else method(config)


def learning_rate(value: float | None) -> str:
    """Format a learning rate with two significant digits: ``3.0e-5``."""
    if value is None or _missing(value):
        return DASH
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"
