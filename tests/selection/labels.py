"""Predictions of labels as the selection takes them: evidence, samples and scores of plain arrays."""

import numpy as np

from lft_ray.selection.evidence import Evidence, Scorer
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel

LABELS = [f"label {number}" for number in range(10)]


def scorer(truth, metric="macro_f1"):
    task = Classification(LABELS) if np.ndim(truth) == 1 else Multilabel(LABELS[: truth.shape[1]])
    return Scorer(task, metric)


def evidence(truth, answers, *, metric="macro_f1", seed=0):
    return Evidence(scorer(truth, metric), truth, answers, seed)


def scores(truth, predictions, metric="macro_f1"):
    return scorer(truth, metric).scores(truth, predictions)


def sample(truth, finalists, *, metric="macro_f1", **options):
    """Bootstrap samples of finalists, given by the predictions of their runs."""
    keys = [[(f"{i}-{j}", "fp32", 0) for j in range(len(runs))] for i, runs in enumerate(finalists)]
    flat = {key: run for names, runs in zip(keys, finalists, strict=True) for key, run in zip(names, runs, strict=True)}
    return evidence(truth, flat, metric=metric).resample(keys, **options)


def intervals(truth, runs, *, metric="macro_f1", seed=0):
    answers = {(str(number), "fp32", 0): run for number, run in enumerate(runs)}
    return evidence(truth, answers, metric=metric, seed=seed).intervals(list(answers))
