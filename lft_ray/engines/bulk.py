"""Run large numbers of texts on all cores of a machine. In: an opened engine, texts. Out: logits. Never reads files.

Each worker runs batches with one engine thread, as in a replica: small batches of similar length saturate a core.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np

from lft_ray.engines.base import BATCH_TOKENS, Encoded, Runner, sorted_batches
from lft_ray.engines.batching import Logits, UnreadableText
from lft_ray.texts import Text

__all__ = ["BulkRunner"]

_ENCODE_CHUNK = 512
"""Texts tokenised per task of the thread pool."""
_MAX_BATCH = 64
"""Maximum texts per batch, as in a replica."""


class BulkRunner:
    """Runs long lists of texts on one engine.

    Args:
        runner: engine opened with one thread.
        workers: number of CPU cores to use.
    """

    def __init__(self, runner: Runner, *, workers: int) -> None:
        self._runner = runner
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="lft-bulk")

    def run(self, texts: Sequence[Text]) -> Logits:
        """Compute logits [n, outputs] of at least one text, in order.

        Raises:
            UnreadableText: the model fails on one of the texts, while it runs others.
        """
        parts = [texts[start : start + _ENCODE_CHUNK] for start in range(0, len(texts), _ENCODE_CHUNK)]
        encoded = list(chain.from_iterable(self._pool.map(self._runner.encode, parts)))
        # Longest first, so that the batches at the end, when some cores are already idle, are short.
        batches = list(sorted_batches([len(text) for text in encoded], BATCH_TOKENS, _MAX_BATCH))[::-1]
        logits = self._pool.map(lambda rows: self._run(rows, encoded), batches)
        return np.concatenate(list(logits))[np.argsort(np.concatenate(batches), kind="stable")]

    def _run(self, rows: list[int], encoded: list[Encoded]) -> Logits:
        try:
            return self._runner.run([encoded[row] for row in rows])
        except Exception as error:
            row = self._failing(rows, encoded)
            if row is None:
                raise
            raise UnreadableText(f"the model fails on a text: {type(error).__name__}", row) from error

    def _failing(self, rows: list[int], encoded: list[Encoded]) -> int | None:
        """The one row of a failed batch that fails alone; None where the engine runs nothing at all."""
        others = rows if len(rows) > 1 else [rows[0], 0 if rows[0] else len(encoded) - 1]
        failed = [row for row in others if not self._runs(encoded[row])]
        return failed[0] if 0 < len(failed) < len(others) else None

    def _runs(self, text: Encoded) -> bool:
        try:
            self._runner.run([text])
        except Exception:  # an engine may raise anything  # noqa: BLE001
            return False
        return True

    def close(self) -> None:
        """Stop the threads; queued batches are cancelled."""
        self._pool.shutdown(wait=True, cancel_futures=True)
