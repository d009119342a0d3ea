"""What a trained network answers in int8: through the very graph that would serve it. In: a network. Out: logits.

bf16 is torch's, so the trainer's own pass tells its F1; int8 rounds in the kernels of onnxruntime, so nothing else can.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lft_ray.data.encode import TokenFile
from lft_ray.engines.batching import run_encoded
from lft_ray.engines.build import build_folder
from lft_ray.engines.onnx_build import NotExportableError
from lft_ray.train.device.process_group import current_group

__all__ = ["int8_logits"]

logger = logging.getLogger(__name__)


def int8_logits(
    save: Callable[[Path], None], tokens: TokenFile, lengths: Sequence[int], *, threads: int
) -> dict[int, NDArray[np.float32]]:
    """Logits float32 [n, c] in row order by text length, the same on every process of this trial.

    Args:
        save: writes the trained network into a folder; called by rank 0 alone, which does the work for all.
        tokens: of n texts.
        lengths: tokens kept of a text.
        threads: cores of this process.

    Returns:
        Empty where the architecture cannot be exported: then it is not offered in int8.
    """
    group = current_group()
    answers: dict[int, NDArray[np.float32]] = group.from_lead(
        _answers(save, tokens, lengths, threads) if group.leads else {}
    )
    return answers


def _answers(
    save: Callable[[Path], None], tokens: TokenFile, lengths: Sequence[int], threads: int
) -> dict[int, NDArray[np.float32]]:
    rows = np.arange(len(tokens))
    with tempfile.TemporaryDirectory(prefix="lft-int8-") as scratch:
        save(Path(scratch) / "trained")
        try:
            built = build_folder(Path(scratch) / "trained", Path(scratch) / "served", precision="int8")
        except NotExportableError as error:
            logger.warning("not offered in int8: %s", error.message)
            return {}
        runner = built.open(threads=threads)
        return {length: run_encoded(runner, tokens.gather(rows, length)) for length in lengths}
