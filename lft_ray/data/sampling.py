"""Length facts of the train texts. In: clean rows. Out: word quantiles, and a sample with the same lengths."""

import numpy as np
from numpy.typing import NDArray

from lft_ray.data.keys import shuffled_keys
from lft_ray.data.table import CleanRows

__all__ = ["sample_texts", "words_quantiles"]

SAMPLE_TEXTS = 512
SAMPLE_CHARACTERS = 65_536
"""A sample text is cut here: 8,192 tokens, the most that a model is asked to read, are mostly shorter than this."""


def words_quantiles(words: NDArray[np.int64]) -> dict[str, float]:
    """Return p50, p95, p99 and max of the words per text; empty without texts."""
    if not len(words):
        return {}
    middle, high, higher = np.quantile(words, [0.5, 0.95, 0.99])
    return {"p50": float(middle), "p95": float(high), "p99": float(higher), "max": float(words.max())}


def sample_texts(rows: CleanRows, *, seed: int, count: int = SAMPLE_TEXTS) -> list[str]:
    """Return texts at even steps of the length order, in an order that does not depend on length.

    A plain random sample of 512 texts misses the mean length by some percent; even steps do not.
    """
    lengths = np.array([len(text) for text in rows.texts], dtype=np.int64)
    hashes = shuffled_keys(rows.keys, seed=seed, salt="sample texts")
    by_length = np.lexsort((hashes, lengths))
    number = min(count, len(by_length))
    steps = (np.arange(number) + 0.5) * len(by_length) / max(number, 1)
    chosen = by_length[steps.astype(np.int64)]
    return [rows.texts[index][:SAMPLE_CHARACTERS] for index in chosen[np.argsort(hashes[chosen], kind="stable")]]
