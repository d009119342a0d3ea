"""Out-of-fold probabilities: each row's labels predicted by linear models that saw neither it nor its copies.

In: features, targets and groups. Out: probabilities. Every model is fitted twice: the second time without the rows that
the first pass found wrong, which would otherwise teach it the errors. Never runs a network.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.data.keys import shuffled_keys
from lft_ray.tasks.base import LabelTask
from lft_ray.train.deep.noise import binary, confident_errors

__all__ = ["FOLDS", "fold_of_rows", "out_of_fold"]

Floats = NDArray[np.float64]
FOLDS = 5
PRIOR = 1000.0
"""Ten times that of a trial's probe: it follows single labels less, so it ranks the errors of crowd workers better
(4,000 rows of AG News: precision .67 instead of .60 where half of the errors is found)."""
_STRENGTH = 3.0
"""Inverse regularisation C of the logistic regression on TF-IDF."""


def fold_of_rows(groups: NDArray[np.uint64], strata: Sequence[str], *, seed: int, folds: int = FOLDS) -> NDArray[Any]:
    """Fold of each row, int64 [n]: rows of one group share a fold, and each stratum is spread evenly.

    Args:
        groups: equal for rows that must stay together, uint64 [n].
        strata: stratum of each row; a group belongs to that of its first row.
        seed: random seed.
        folds: number of folds.
    """
    unique, first, of_row = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(shuffled_keys(unique, seed=seed, salt="folds"), kind="stable")
    fold = np.zeros(len(unique), np.int64)
    seen: dict[str, int] = {}
    for group in order.tolist():
        stratum = strata[int(first[group])]
        # Where a stratum starts depends on its number, so that small strata do not all land in the first fold.
        number = seen.get(stratum, len(seen))
        fold[group] = number % folds
        seen[stratum] = number + 1
    return fold[of_row]


def out_of_fold(
    views: Sequence[Any], targets: NDArray[Any], task: LabelTask, fold: NDArray[Any], *, seed: int
) -> Floats:
    """Mean probabilities of one linear model for each view, float64 [n, c].

    Of one label per text they are under equally frequent labels; of several, as frequent as in the data.

    Args:
        views: features of the same rows: float32 [n, hidden], or a sparse matrix [n, terms].
        targets: encoded targets.
        task: gives loss and class weights.
        fold: fold of each row.
        seed: random seed of the solver.
    """
    mean = np.zeros((len(targets), task.outputs))
    for view in views:
        mean += _two_passes(view, targets, task, fold, seed) / len(views)
    return mean


def _two_passes(view: Any, targets: NDArray[Any], task: LabelTask, fold: NDArray[Any], seed: int) -> Floats:
    kept = np.ones(len(targets), np.bool_)
    probabilities = _pass(view, targets, task, fold, kept, seed)
    if task.is_exclusive:
        kept = ~confident_errors(probabilities, targets)
    else:
        wrong = [confident_errors(*binary(probabilities[:, label], targets[:, label])) for label in range(task.outputs)]
        kept = ~np.any(wrong, axis=0)
    kept |= _needed(targets, kept, task)
    return _pass(view, targets, task, fold, kept, seed)


def _needed(targets: NDArray[Any], kept: NDArray[np.bool_], task: LabelTask) -> NDArray[np.bool_]:
    """Rows of labels of which fewer than half would be left: what is called an error of most is the label itself."""
    needed = np.zeros(len(kept), np.bool_)
    columns = targets[:, None] == np.unique(targets) if task.is_exclusive else targets > 0.5
    for carries in columns.T:
        if kept[carries].mean() < 0.5:
            needed |= carries
    return needed


def _pass(
    view: Any, targets: NDArray[Any], task: LabelTask, fold: NDArray[Any], kept: NDArray[np.bool_], seed: int
) -> Floats:
    result = np.zeros((len(targets), task.outputs))
    for number in np.unique(fold):
        train, held_out = np.flatnonzero((fold != number) & kept), np.flatnonzero(fold == number)
        fit = _dense if isinstance(view, np.ndarray) else _sparse
        result[held_out] = fit(view[train], targets[train], view[held_out], task, seed)
    return result


def _dense(train: Any, targets: NDArray[Any], held_out: Any, task: LabelTask, seed: int) -> Floats:
    del seed  # LBFGS from zero has none
    from lft_ray.train.loop.probe import fit_head

    weights = task.class_weights(targets) if task.is_exclusive else None
    weight, bias = fit_head(train, targets, task, weights, prior=PRIOR)
    return np.asarray(task.probabilities(held_out @ weight.T + bias), np.float64)


def _sparse(train: Any, targets: NDArray[Any], held_out: Any, task: LabelTask, seed: int) -> Floats:
    if task.is_exclusive:
        return _regression(train, targets, held_out, task.outputs, seed, balanced=True)
    columns = [_regression(train, column, held_out, 2, seed) for column in (targets > 0.5).astype(np.int64).T]
    return np.stack([column[:, 1] for column in columns], axis=1)


def _regression(
    train: Any, targets: NDArray[Any], held_out: Any, count: int, seed: int, *, balanced: bool = False
) -> Floats:
    """Probabilities [m, count] of a logistic regression; zero for labels that it has not seen."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    result = np.zeros((held_out.shape[0], count))
    seen = np.unique(targets)
    if len(seen) == 1:
        result[:, seen] = 1.0
        return result
    model = LogisticRegression(
        C=_STRENGTH, tol=1e-3, max_iter=100, class_weight="balanced" if balanced else None, random_state=seed
    )
    # The products are sparse: threads of the dense library only wait for each other.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train, targets)
    result[:, model.classes_] = model.predict_proba(held_out)
    return result
