"""Check that a bundle gives the answers that its trainer measured the F1 of.

In: a bundle folder, texts, and the trainer's logits. Out: a `ParityReport`, or an error: a bundle that answers
otherwise is not shipped.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.batching import run_sorted
from lft_ray.errors import BundleError
from lft_ray.export.bundle import TOLERANCES, open_bundle
from lft_ray.records import Record
from lft_ray.selection.stage import LEAST_AGREEMENT

__all__ = ["ParityError", "ParityReport", "check_parity"]


class ParityError(BundleError):
    """The bundle answers otherwise than training measured: another way of serving the checkpoint may not."""


class ParityReport(Record):
    """How well bundle and trainer agree."""

    texts: int
    agreement: float
    """Share of the texts with the same predicted labels; a text whose answer is a tie in the trainer counts as same."""
    largest_probability_change: float
    ties: int
    """Texts on which the labels differ, but no probability by more than the precision's tolerance."""


def check_parity(bundle_folder: Path, texts: Sequence[str], expected_logits: NDArray[np.float32]) -> ParityReport:
    """Run the texts through the bundle and compare with the trainer's logits.

    Args:
        bundle_folder: a bundle.
        texts: n texts, as the trainer saw them.
        expected_logits: float32 [n, c] of the trainer at the bundle's precision and length.

    Raises:
        ParityError: fewer texts agree than `LEAST_AGREEMENT`, or answers are of another shape or not finite.
        BundleError: the bundle is damaged.
    """
    opened = open_bundle(bundle_folder)
    task = opened.task()
    got = task.probabilities(run_sorted(opened.open_runner(), texts))
    expected = task.probabilities(expected_logits)
    if got.shape != expected.shape or not np.isfinite(got).all():
        raise ParityError(
            f"bundle {opened.bundle.version} answers {got.shape} scores, all finite: {bool(np.isfinite(got).all())}; "
            f"the trainer's are {expected.shape}"
        )
    changes = np.abs(got - expected).max(axis=1)
    pairs = zip(task.chosen(got), task.chosen(expected), strict=True)
    differs = np.array([set(ours) != set(theirs) for ours, theirs in pairs])
    ties = differs & (changes <= TOLERANCES[opened.spec.precision])
    agreement = 1.0 - float((differs & ~ties).mean())
    report = ParityReport(
        texts=len(texts),
        agreement=agreement,
        largest_probability_change=float(changes.max()),
        ties=int(ties.sum()),
    )
    least = LEAST_AGREEMENT[opened.spec.precision]
    if agreement < least:
        raise ParityError(
            f"bundle {opened.bundle.version} gives {agreement:.4f} of {len(texts)} texts the labels that training "
            f"measured; at {opened.spec.precision} at least {least} must agree",
            fix="report this with the bundle: training and serving read the texts differently",
        )
    return report
