"""Fit TF-IDF: count terms, choose features and strength by cross-validation, calibrate. Uses scikit-learn.

In: texts and targets. Out: `FittedTerms`: the terms with their weights. A linear support vector machine (one against
the rest) is fitted; its decisions on the folds that it did not see give the one factor that makes them logits. Never
writes files, never imports torch.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.models.grams import grams, units
from lft_ray.models.words import split_input
from lft_ray.tasks.base import Task
from lft_ray.texts import Text

__all__ = ["FittedTerms", "fit_terms", "ngrams"]

Floats = NDArray[np.float32]

_MAX_TERMS = 100_000
"""AG News, 40,775 rows: 100,000 and 190,896 words and pairs give the same accuracy."""
_MAX_GRAMS = 150_000
_MAX_WEIGHTS = 16_000_000
"""Terms x outputs that are stored, 64 MB: beyond it, the terms of the smallest weights are cut."""
_MAX_GRAM_COUNTS = 30_000_000
"""Distinct character n-grams summed over the rows, some 400 MB; larger data are fitted on words alone."""
_STRENGTHS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Inverse regularisation strengths C to choose from."""
_DEFAULT_STRENGTH = 0.5
_FOLDS = 3
_SMALLEST_FOLDED = 12
"""Below this number of rows nothing is chosen."""
_CHOICE_WORK = 6e8
"""Non-zero counts x outputs, summed over the fits that choose: some 30 core-seconds. Larger data are sampled for it. A
number and not a clock, so that the choice is the same on every machine."""
_SMALLEST_SAMPLE = 1_000
_SCALES = np.geomspace(0.5, 20.0, 75)
"""Factors on decisions to choose from. Margins are at most about 1, so that logits reach 0.5 to 20."""
_DEFAULT_SCALE = 3.0
_ABSENT_LOGIT = -20.0
"""Logit of a label without a single example, and minus that of one on every row."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedTerms:
    """Weights of d terms, words and pairs first, for c outputs.

    Attributes:
        terms: words and pairs of adjacent words.
        grams: character n-grams; empty: words alone scored as well.
        idf: inverse document frequencies, float32 [d].
        coef: weights that give logits, float32 [d, c].
        intercept: float32 [c].
        strength: chosen inverse regularisation strength C.
    """

    terms: list[str]
    grams: list[str]
    idf: Floats
    coef: Floats
    intercept: Floats
    strength: float


def ngrams(words: Sequence[str]) -> list[str]:
    """Return the words and all pairs of adjacent words."""
    return [*words, *(f"{left} {right}" for left, right in pairwise(words))]


def fit_terms(
    texts: Sequence[Text], targets: NDArray[Any], task: Task, seed: int, *, max_length: int, words: int
) -> FittedTerms:
    """Fit on all texts, with the features and the strength that score best in cross-validation.

    Args:
        texts: n texts, or pairs of texts.
        targets: output of ``task.encode``: int64 [n], or float32 [n, c] of 0 and 1.
        task: gives the number of outputs and the metric (macro-F1) by which is chosen.
        seed: random seed of the folds.
        max_length: maximum number of words per text.
        words: version of the rules that cut a text into words.
    """
    found = [split_input(text, max_length, version=words) for text in texts]
    blocks = [_block(*_counts(map(ngrams, found)), limit=_MAX_TERMS)]
    if (letters := _gram_counts(found, words)) is not None:
        blocks.append(_block(*letters, limit=_MAX_GRAMS))
    chosen = _choose(blocks, targets, task, seed)
    used = blocks[: chosen.blocks]
    coef, intercept = _fit(_joined(used), targets, task, chosen.strength)
    coef, intercept = _as_logits(coef, intercept, targets, task, chosen.scale)
    idf = np.concatenate([block.idf for block in used])
    sizes = [len(block.names) for block in used]
    kept = _heaviest(np.abs(coef).max(axis=1, initial=0.0) * idf, _MAX_WEIGHTS // task.outputs)
    names = np.array([name for block in used for name in block.names], dtype=object)
    return FittedTerms(
        terms=list(names[kept[kept < sizes[0]]]),
        grams=list(names[kept[kept >= sizes[0]]]),
        idf=idf[kept],
        coef=np.ascontiguousarray(coef[kept]),
        intercept=intercept,
        strength=chosen.strength,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """One kind of terms: their names, idf float32 [d], and a sparse matrix [n, d] with rows of length 1."""

    names: list[str]
    idf: Floats
    matrix: Any


@dataclass(frozen=True, slots=True)
class _Chosen:
    """How many blocks are used, C, and the factor that makes decisions logits."""

    blocks: int
    strength: float
    scale: float


def _counts(rows: Iterable[Sequence[str]]) -> tuple[list[str], Any]:
    """Distinct terms in order of appearance, and a sparse matrix of their counts, float32 [n, d]."""
    from scipy.sparse import csr_matrix

    places: dict[str, int] = {}
    indices: list[int] = []
    data: list[int] = []
    ends = [0]
    for row in rows:
        for term, times in Counter(row).items():
            indices.append(places.setdefault(term, len(places)))
            data.append(times)
        ends.append(len(indices))
    shape = (len(ends) - 1, len(places))
    return list(places), csr_matrix((np.array(data, dtype=np.float32), indices, ends), shape=shape)


def _gram_counts(words: Sequence[Sequence[str]], version: int) -> tuple[list[str], Any] | None:
    """Like `_counts`, of character n-grams; None: too many."""
    names, in_texts = _counts(units(row, version=version) for row in words)
    found, in_units = _counts(map(grams, names))
    # Counting by word and multiplying takes a tenth of the time of counting by text.
    lengths = np.diff(in_units.indptr)
    if float((in_texts > 0).astype(np.float32).dot(lengths.astype(np.float32)).sum()) > _MAX_GRAM_COUNTS:
        return None
    return found, (in_texts @ in_units).tocsr()


def _block(names: list[str], counts: Any, *, limit: int) -> _Block:
    from scipy.sparse import diags

    rows = counts.shape[0]
    frequency = counts.getnnz(axis=0)
    kept = _heaviest(frequency, limit)
    counts, frequency = counts[:, kept].tocsr(), frequency[kept]
    idf = (np.log((1.0 + rows) / (1.0 + frequency)) + 1.0).astype(np.float32)
    counts.data = np.float32(1.0) + np.log(counts.data)
    weighed = (counts @ diags(idf, dtype=np.float32)).tocsr()
    norms = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1), dtype=np.float32)).ravel()
    scaled = (diags(1.0 / np.maximum(norms, 1e-12), dtype=np.float32) @ weighed).tocsr()
    return _Block([names[place] for place in kept], idf, scaled.astype(np.float32))


def _heaviest(weights: NDArray[Any], limit: int) -> NDArray[np.intp]:
    """Indices of the ``limit`` largest weights, ascending; of equal ones the first."""
    if len(weights) <= limit:
        return np.arange(len(weights))
    return np.sort(np.argsort(-weights, kind="stable")[:limit])


def _joined(blocks: Sequence[_Block]) -> Any:
    from scipy.sparse import hstack

    return hstack([block.matrix for block in blocks], format="csr", dtype=np.float32)


def _choose(blocks: Sequence[_Block], targets: NDArray[Any], task: Task, seed: int) -> _Chosen:
    if len(targets) < _SMALLEST_FOLDED:
        return _Chosen(len(blocks), _DEFAULT_STRENGTH, _DEFAULT_SCALE)
    rows = _sample(blocks, targets, task.outputs, seed)
    own = targets[rows]
    folds = np.empty(len(rows), dtype=np.intp)
    # The rows are in random order; sorted by label, the labels are spread evenly over the folds.
    order = np.argsort(own, kind="stable") if task.is_exclusive else np.arange(len(rows))
    folds[order] = np.arange(len(rows)) % _FOLDS
    best, winner = -1.0, _Chosen(1, _DEFAULT_STRENGTH, _DEFAULT_SCALE)
    metric = next(iter(task.metric_names))
    # Words alone first, and strong regularisation first: of equal scores the cheaper and the safer is chosen.
    for count in range(1, len(blocks) + 1):
        matrix = _joined(blocks[:count])[rows]
        for strength in _STRENGTHS:
            decisions = _unseen_decisions(matrix, own, folds, task, strength)
            score = task.metrics(own, decisions)[metric]
            if score > best:
                best, winner = score, _Chosen(count, strength, _scale(decisions, own, task))
    return winner


def _sample(blocks: Sequence[_Block], targets: NDArray[Any], outputs: int, seed: int) -> NDArray[np.intp]:
    """Rows of the cross-validation, in random order: as many as `_CHOICE_WORK` allows."""
    order = np.random.default_rng(seed).permutation(len(targets))
    counts = sum(block.matrix.nnz * (len(blocks) - place) for place, block in enumerate(blocks))
    work = counts * outputs * len(_STRENGTHS) * (_FOLDS - 1)
    limit = int(len(order) * min(1.0, _CHOICE_WORK / max(1, work)))
    return order[: max(limit, _SMALLEST_SAMPLE)]


def _unseen_decisions(
    matrix: Any, targets: NDArray[Any], folds: NDArray[np.intp], task: Task, strength: float
) -> Floats:
    """Decisions [n, c] on each fold by the model fitted on the others."""
    decisions = np.zeros((len(targets), task.outputs), dtype=np.float32)
    for fold in range(_FOLDS):
        held_out = folds == fold
        coef, intercept = _fit(matrix[~held_out], targets[~held_out], task, strength)
        decisions[held_out] = matrix[held_out] @ coef + intercept
    return decisions


def _fit(matrix: Any, targets: NDArray[Any], task: Task, strength: float) -> tuple[Floats, Floats]:
    """One support vector machine per output, coef float32 [d, c] and intercept float32 [c]; of two labels, one."""
    coef = np.zeros((matrix.shape[1], task.outputs), dtype=np.float32)
    intercept = np.full(task.outputs, -1.0, dtype=np.float32)
    if matrix.shape[1] == 0:
        return coef, intercept
    if not task.is_exclusive:
        for number in range(task.outputs):
            own = targets[:, number] > 0.5
            if own.any() and not own.all():
                _, coef[:, [number]], intercept[[number]] = _machine(matrix, own, strength)
        return coef, intercept
    classes = np.unique(targets)
    if len(classes) > 1:
        _, weights, offsets = _machine(matrix, targets, strength)
        coef[:, classes], intercept[classes] = weights, offsets
    else:
        intercept[classes] = 1.0
    return coef, intercept


def _machine(matrix: Any, targets: NDArray[Any], strength: float) -> tuple[Any, NDArray[Any], NDArray[Any]]:
    """Classes, weights [d, k] and offsets [k]; k is 1 for two values of bool, and 2 for two labels."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    model = LinearSVC(C=strength, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(matrix, targets)
    weights, offsets = model.coef_.T, model.intercept_
    if len(model.classes_) == 2 and targets.dtype != np.bool_:
        # One decision z for two labels; the softmax of (-z/2, z/2) is its sigmoid.
        halves = np.array([-0.5, 0.5])
        weights, offsets = weights * halves, offsets * halves
    return model.classes_, weights, offsets


def _scale(decisions: Floats, targets: NDArray[Any], task: Task) -> float:
    """The factor under which the decisions, read as logits, have the smallest loss."""
    losses = [_loss(decisions.astype(np.float64) * scale, targets, task) for scale in _SCALES]
    return float(_SCALES[int(np.argmin(losses))])


def _loss(logits: NDArray[np.float64], targets: NDArray[Any], task: Task) -> float:
    if not task.is_exclusive:
        return float((np.logaddexp(0.0, logits) - logits * targets).mean())
    own = logits[np.arange(len(targets)), targets]
    return float((np.logaddexp.reduce(logits, axis=1) - own).mean())


def _as_logits(
    coef: Floats, intercept: Floats, targets: NDArray[Any], task: Task, scale: float
) -> tuple[Floats, Floats]:
    """Scale the decisions, and set the outputs that saw one value only."""
    coef, intercept = coef * np.float32(scale), intercept * np.float32(scale)
    if not task.is_exclusive:
        share = (targets > 0.5).mean(axis=0)
        intercept[share == 0.0], intercept[share == 1.0] = _ABSENT_LOGIT, -_ABSENT_LOGIT
        return coef, intercept
    seen = np.isin(np.arange(len(intercept)), targets)
    intercept[~seen] = _ABSENT_LOGIT
    return coef, intercept
