"""How a point says at which precision and length it is served. In: variants. Out: text, empty where there is one."""

from collections.abc import Iterable

from lft_ray.decision import FrontPoint
from lft_ray.records import ScoredVariant, TrialRecord

__all__ = ["Naming", "variant_text"]


def variant_text(point: "FrontPoint | ScoredVariant") -> str:
    """Precision and length: ``bf16, 64 tokens``."""
    return f"{point.precision}, {point.max_length} tokens"


class Naming:
    """Names the variants of one study.

    Args:
        records: the ledger.

    Attributes:
        several: whether any trial has more than one.
    """

    def __init__(self, records: Iterable[TrialRecord]) -> None:
        self.several = any(len(record.variants) > 1 for record in records)

    def __call__(self, point: "FrontPoint | ScoredVariant") -> str:
        """`variant_text` where trials of the study have more than one variant, else an empty text."""
        return variant_text(point) if self.several else ""
