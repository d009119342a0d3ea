"""Very many texts on all cores of a machine. In: an opened engine, texts. Out: their logits. Knows no files, no labels.

Each worker runs batches with one thread of the engine, as in a replica: small batches of like lengths fill a core.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np

from lft_ray.engines.base import Runner
from lft_ray.engines.batching import BATCH_TOKENS, Logits, sorted_batches

__all__ = ["BulkRunner"]

_ENCODED_AT_A_TIME = 512
_MAX_BATCH = 64


class BulkRunner:
    """Runs long lists of texts on one engine.

    Args:
        runner: opened with one thread.
        workers: cores to use.
    """

    def __init__(self, runner: Runner, *, workers: int) -> None:
        self._runner = runner
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="lft-bulk")

    def run(self, texts: Sequence[str]) -> Logits:
        """Logits [n, outputs] of at least one text, in their order."""
        parts = [texts[start : start + _ENCODED_AT_A_TIME] for start in range(0, len(texts), _ENCODED_AT_A_TIME)]
        encoded = list(chain.from_iterable(self._pool.map(self._runner.encode, parts)))
        # The longest first: the last batches, for which some cores wait, are then short ones.
        batches = list(sorted_batches([len(one) for one in encoded], BATCH_TOKENS, _MAX_BATCH))[::-1]
        answers = self._pool.map(lambda rows: self._runner.run([encoded[row] for row in rows]), batches)
        return np.concatenate(list(answers))[np.argsort(np.concatenate(batches), kind="stable")]

    def close(self) -> None:
        """End the threads; what waits is not run any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)
