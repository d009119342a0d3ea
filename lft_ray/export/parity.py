"""Check that a bundle reproduces the predictions whose F1 was measured in training.

In: a bundle folder, texts, and the head outputs of the trainer. Out: a `ParityReport`, or an error: a bundle whose
predictions differ is not shipped.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.batching import run_sorted
from lft_ray.errors import BundleError
from lft_ray.export.bundle import TOLERANCES, open_bundle
from lft_ray.records import Record
from lft_ray.selection.stage import MIN_AGREEMENT
from lft_ray.tasks.base import Task
from lft_ray.texts import Text

__all__ = ["ParityError", "ParityReport", "check_parity", "compared"]


class ParityError(BundleError):
    """The predictions of the bundle differ from those in training. Another engine or precision may reproduce them."""


class ParityReport(Record):
    """Agreement of bundle and trainer."""

    texts: int
    """Number of texts compared."""
    agreement: float
    """Share of texts with the same prediction. Ties count as agreement."""
    largest_score_change: float
    ties: int
    """Number of texts whose predictions differ although all scores are within the tolerance of the precision."""


def check_parity(bundle_folder: Path, texts: Sequence[Text], expected: NDArray[np.float32]) -> ParityReport:
    """Run the texts through the bundle and compare with the head outputs of the trainer.

    Args:
        bundle_folder: local folder of the bundle.
        texts: n texts, as used in training.
        expected: float32 [n, c], head outputs of the trainer at the precision and length of the bundle.

    Raises:
        ParityError: agreement is below `MIN_AGREEMENT`, or scores have another shape or are not finite.
        BundleError: the bundle is damaged.
    """
    opened = open_bundle(bundle_folder)
    got = run_sorted(opened.open_runner(), texts)
    what = f"bundle {opened.bundle.version}"
    return compared(opened.task(), got, expected, precision=opened.spec.precision, what=what)


def compared(
    task: Task, got: NDArray[np.float32], expected: NDArray[np.float32], *, precision: str, what: str
) -> ParityReport:
    """Compare head outputs, float32 [n, c], with those of the trainer.

    Args:
        task: turns them into predictions.
        got: head outputs to check.
        expected: those of the trainer, at the same precision.
        precision: the precision.
        what: what is checked, for the message.

    Raises:
        ParityError: agreement is below `MIN_AGREEMENT`, or scores have another shape or are not finite.
    """
    if got.shape != expected.shape or not np.isfinite(got).all():
        raise ParityError(
            f"{what} returns {got.shape} outputs, all finite: {bool(np.isfinite(got).all())}; "
            f"the trainer's are {expected.shape}"
        )
    changes = task.score_change(got, expected)
    differs = ~task.same(task.answers(got), task.answers(expected))
    # A prediction can flip between two nearly equal scores without any real change: a tie is not a disagreement.
    ties = differs & (changes <= TOLERANCES[precision])
    agreement = 1.0 - float((differs & ~ties).mean())
    report = ParityReport(
        texts=len(expected),
        agreement=agreement,
        largest_score_change=float(changes.max()),
        ties=int(ties.sum()),
    )
    minimum = MIN_AGREEMENT[precision]
    if agreement < minimum:
        raise ParityError(
            f"{what} gives {agreement:.4f} of {len(expected)} texts the prediction that "
            f"training measured; at {precision} at least {minimum} must agree",
            fix="report this with the bundle: training and serving process the texts differently",
        )
    return report
