"""Evaluate a trained network in int8, through the same graph that would serve it. In: a network. Out: logits.

bf16 is computed by torch, so a pass of the trainer measures its F1. int8 is rounded in the kernels of onnxruntime, so
only onnxruntime can measure it. Never changes the network.
"""

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded
from lft_ray.engines.batching import run_encoded
from lft_ray.engines.build import build_folder
from lft_ray.engines.onnx_build import NotExportableError
from lft_ray.train.device.process_group import current_group

__all__ = ["int8_logits"]

logger = logging.getLogger(__name__)


def int8_logits(
    save: Callable[[Path], None], encoded: Mapping[int, Sequence[Encoded]], *, threads: int
) -> dict[int, NDArray[np.float32]]:
    """Logits of the int8 network at each length, equal on every process of this trial.

    Args:
        save: writes the trained network into a folder; called only by rank 0, which computes for all.
        encoded: maximum length in tokens -> the n texts, encoded at that length.
        threads: CPU cores of this process.

    Returns:
        Length -> what the model says of each row, float32 [n, k], in row order. Empty if the architecture cannot be
        exported: then the model has
        no int8 variant.
    """
    group = current_group()
    logits: dict[int, NDArray[np.float32]] = group.broadcast(_compute(save, encoded, threads) if group.is_lead else {})
    return logits


def _compute(
    save: Callable[[Path], None], encoded: Mapping[int, Sequence[Encoded]], threads: int
) -> dict[int, NDArray[np.float32]]:
    with tempfile.TemporaryDirectory(prefix="lft-int8-") as scratch:
        save(Path(scratch) / "trained")
        try:
            built = build_folder(Path(scratch) / "trained", Path(scratch) / "served", precision="int8")
        except NotExportableError as error:
            logger.warning("no int8 variant: %s", error.message)
            return {}
        runner = built.open(threads=threads)
        return {length: run_encoded(runner, texts) for length, texts in encoded.items()}
