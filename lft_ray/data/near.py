"""Find nearly equal texts, within and across splits. In: texts and their keys. Out: pairs of rows. Needs no model.

MinHash over pairs of adjacent words, in numpy. A row is compared with a bounded number of rows, so time and memory grow
linearly, also where all texts are alike; a pair is reported only after its similarity was computed exactly. Texts that
are equal but for case and spacing are the ordinary check's business and are left out here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.models.words import split_words

__all__ = ["MIN_SIMILARITY", "NearPair", "near_duplicates"]

MIN_SIMILARITY = 0.8
"""Share of word pairs in common (Jaccard index) from which two texts are near-duplicates. Of 38 words, two may differ;
of 10 words, one at an end."""
LETTERS = 2
"""Version of the word rules without punctuation, which does not tell texts apart."""
MAX_WORDS = 512
"""Words compared of a text; bounds the memory of a chunk."""
_CHUNK_WORDS = 200_000
"""Words hashed at a time: each of the hash functions then works on 1.6 MB, which stays in the cache of a core."""
_BANDS, _ROWS = 16, 4
"""A pair of similarity s meets in at least one band with probability 1 - (1 - s^4)^16: 0.9998 at 0.8, 0.64 at 0.5."""
_HASHES = _BANDS * _ROWS
_SLACK = 0.15
"""The estimate of a similarity of 0.8 by 64 hashes has a standard deviation of 0.05: three of these below."""
_CHECKED = 4
"""Candidates of a row that are compared exactly, most similar first."""

Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class NearPair:
    """A row, and the earlier row that it nearly repeats.

    Attributes:
        row: index of the later text.
        earlier: index of the earlier text.
        similarity: share of word pairs in common, 0.8 to 1.
    """

    row: int
    earlier: int
    similarity: float


def near_duplicates(texts: Sequence[str], keys: Keys) -> list[NearPair]:
    """Pair each text with the most similar of the earlier texts that were compared with it.

    Args:
        texts: n texts, those of train first: a row of a later split is then paired with a row of train where one is
            near.
        keys: hash of each normalised text, uint64 [n]; of equal texts only the first is compared.

    Returns:
        At most one pair for each row, by row.
    """
    _, first = np.unique(keys, return_index=True)
    rows = np.sort(first)
    signatures, has_words = _signatures(texts, rows)
    rows, signatures = rows[has_words], signatures[has_words]
    later, earlier = _candidates(signatures)
    # Equal estimates: the earliest row, so that the rows of a group name the same one.
    estimates = _estimates(signatures, later, earlier)
    kept = estimates >= MIN_SIMILARITY - _SLACK
    later, earlier, estimates = later[kept], earlier[kept], estimates[kept]
    order = np.lexsort((earlier, -estimates, later))
    return list(_exact(texts, rows[later[order]], rows[earlier[order]]))


def _signatures(texts: Sequence[str], rows: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """MinHash signatures uint32 [n, 64], and which rows have a word at all."""
    signatures = np.zeros((len(rows), _HASHES), np.uint32)
    has_words = np.zeros(len(rows), np.bool_)
    # Fixed: the same pairs on every run.
    generator = np.random.default_rng(20)
    factors = generator.integers(1, 2**63, _HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = generator.integers(0, 2**63, _HASHES, dtype=np.uint64)
    known: dict[str, int] = {}
    for places, shingles, starts in _chunks(texts, rows, known):
        has_words[places] = True
        with np.errstate(over="ignore"):
            for number in range(_HASHES):
                # Multiply-shift hashing: the high half of the product is uniform.
                hashed = (shingles * factors[number] + offsets[number]) >> np.uint64(32)
                signatures[places, number] = np.minimum.reduceat(hashed.astype(np.uint32), starts)
    return signatures, has_words


def _chunks(
    texts: Sequence[str], rows: NDArray[np.int64], known: dict[str, int]
) -> Iterator[tuple[NDArray[np.int64], Keys, NDArray[np.int64]]]:
    """Places in ``rows``, the hashed word pairs of their texts one after the other, and where each text starts."""
    places: list[int] = []
    ids: list[int] = []
    counts: list[int] = []
    for place, row in enumerate(rows.tolist()):
        words = split_words(texts[row], MAX_WORDS, version=LETTERS)
        if not words:
            continue
        places.append(place)
        counts.append(len(words))
        ids += [known.setdefault(word, len(known)) for word in words]
        if len(ids) >= _CHUNK_WORDS:
            yield _chunk(places, ids, counts)
            places, ids, counts = [], [], []
    if places:
        yield _chunk(places, ids, counts)


def _chunk(places: list[int], ids: list[int], counts: list[int]) -> tuple[NDArray[np.int64], Keys, NDArray[np.int64]]:
    sizes = np.array(counts, np.int64)
    words = np.array(ids, np.uint64)
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    # The last word of a text has no successor; a text of one word is its own pair.
    paired = np.ones(len(words), np.bool_)
    paired[firsts + sizes - 1] = sizes == 1
    followers = np.concatenate([words[1:], words[:1]])
    followers[(firsts + sizes - 1)[sizes == 1]] = np.uint64(2**32 - 1)
    with np.errstate(over="ignore"):
        shingles = (words * np.uint64(0x9E3779B97F4A7C15)) ^ (followers * np.uint64(0xC2B2AE3D27D4EB4F))
        shingles = (shingles ^ (shingles >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    starts = np.concatenate([[0], np.cumsum(np.maximum(sizes - 1, 1))[:-1]])
    return np.array(places, np.int64), shingles[paired], starts


def _candidates(signatures: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (later, earlier) of rows with an equal band: each row with the first and the previous of its bucket."""
    found: list[NDArray[np.int64]] = []
    count = len(signatures)
    for band in range(_BANDS):
        part = np.ascontiguousarray(signatures[:, band * _ROWS : (band + 1) * _ROWS]).view(np.uint64)
        order = np.lexsort((np.arange(count), part[:, 1], part[:, 0]))
        ordered = part[order]
        is_first = np.ones(count, np.bool_)
        is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        heads = order[np.maximum.accumulate(np.where(is_first, np.arange(count), 0))] if count else order
        later = np.flatnonzero(~is_first)
        for others in (heads[later], order[later - 1]):
            found.append(order[later] * count + others)
    pairs = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
    return pairs // max(count, 1), pairs % max(count, 1)


def _estimates(
    signatures: NDArray[np.uint32], later: NDArray[np.int64], earlier: NDArray[np.int64], step: int = 100_000
) -> NDArray[np.float64]:
    parts = [
        (signatures[later[at : at + step]] == signatures[earlier[at : at + step]]).mean(axis=1)
        for at in range(0, len(later), step)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _exact(texts: Sequence[str], later: NDArray[Any], earlier: NDArray[Any]) -> Iterator[NearPair]:
    """Pairs whose exact similarity is high enough; the candidates of a row follow each other, best estimate first."""
    bounds = [*np.flatnonzero(np.diff(later, prepend=-1)).tolist(), len(later)]
    for at, end in pairwise(bounds):
        own = _pairs(texts[int(later[at])])
        best: NearPair | None = None
        for number in range(at, min(end, at + _CHECKED)):
            other = _pairs(texts[int(earlier[number])])
            similarity = len(own & other) / len(own | other)
            if similarity >= MIN_SIMILARITY and (best is None or similarity > best.similarity):
                best = NearPair(int(later[at]), int(earlier[number]), similarity)
        if best is not None:
            yield best


def _pairs(text: str) -> set[tuple[str, ...]]:
    words = split_words(text, MAX_WORDS, version=LETTERS)
    return {tuple(words[at : at + 2]) for at in range(max(len(words) - 1, 1))}
