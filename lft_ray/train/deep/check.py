"""The deep check: suspected label errors and near-duplicates. In: the rows of a data set. Out: a `DeepReport`.

Never changes a row, and never says how many labels are wrong: a model that disagrees may be the one in error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lft_ray.config import ModelSpec
from lft_ray.data.keys import text_keys
from lft_ray.data.near import NearPair, near_duplicates
from lft_ray.errors import InputError
from lft_ray.records import Record
from lft_ray.tasks.base import LabelTask
from lft_ray.tasks.columns import LABEL
from lft_ray.tasks.rows import CleanRows
from lft_ray.train.deep.features import Encoder, find_encoder, network_features, tfidf_matrix
from lft_ray.train.deep.folds import FOLDS, fold_of_rows, out_of_fold
from lft_ray.train.deep.noise import LIKELY, POSSIBLE, Scored, binary, scored
from lft_ray.train.deep.sides import cannot_judge, linked
from lft_ray.wire import PAIR_TEXTS

__all__ = ["DeepReport", "NearDuplicate", "Suspect", "deep_check", "groups", "judged"]

SHOWN_CHARACTERS = 1000
"""Characters of a text that a report repeats."""
LEAST_TEXTS = 2 * FOLDS
"""Texts that a label needs to be judged: of fewer, a fold may hold nearly all."""


class Suspect(Record):
    """A row whose label is likely or possibly wrong."""

    file: str
    row: int
    split: str
    text: str
    """At most the first 1,000 characters."""
    label: str
    """Given label; of several, joined by commas."""
    suggested: str
    probability: float
    """Out-of-fold probability of the suggested label, 0 to 1; of several, of the one that differs most."""
    score: float
    """Log odds of the suggested against the given label, with what the data shows of its own confusions."""
    certainty: Literal["likely", "possible"]


class NearDuplicate(Record):
    """A row that nearly repeats an earlier one."""

    file: str
    row: int
    split: str
    text: str
    label: str
    other_file: str
    other_row: int
    other_split: str
    other_label: str
    similarity: float
    """Share of pairs of adjacent words in common, 0.8 to 1."""


class DeepReport(Record):
    """Result of the deep check."""

    features: str
    """What the models read: the base of the linear probe, TF-IDF, or both."""
    note: str = ""
    """Why no network was used, or no label judged; empty where both were."""
    rows: int
    seed: int
    suspects: list[Suspect]
    """Most suspicious first."""
    not_judged: list[str]
    """Labels with too few texts to be judged."""
    near_duplicates: list[NearDuplicate]
    leaked: dict[str, int]
    """Held-out split -> its rows that nearly repeat a row of an earlier split."""
    conflicting: int
    """Near-duplicates with different labels."""
    shared: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Of a task with several inputs: held-out split -> role of an input -> rows whose input occurs in an earlier split
    too, beside other partners."""

    @property
    def likely(self) -> int:
        """Number of labels that are likely wrong."""
        return sum(suspect.certainty == "likely" for suspect in self.suspects)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of all splits, one after the other, train first."""

    parts: list[CleanRows]
    starts: NDArray[np.int64]
    texts: list[str]
    labels: list[list[str]]
    keys: NDArray[np.uint64]

    @classmethod
    def of(cls, splits: Mapping[str, CleanRows]) -> "_Rows":
        parts = [splits[name] for name in ("train", "validation", "test") if name in splits]
        return cls(
            parts,
            np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64),
            [text for part in parts for text in part.identity],
            [names for part in parts for names in part.values["label"]],
            np.concatenate([part.keys for part in parts]),
        )

    def place(self, row: int) -> tuple[str, int, str]:
        """File, row number and split of a row."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        part = self.parts[number]
        file, line = part.origin(row - int(self.starts[number]))
        return file, line, part.split


def deep_check(
    splits: Mapping[str, CleanRows],
    task: LabelTask,
    models: Sequence[ModelSpec],
    *,
    max_length: int,
    seed: int,
    log: Callable[[str], None] | None = None,
) -> DeepReport:
    """Look for wrong labels and near-duplicates in all splits together. The same seed gives the same report.

    Args:
        splits: rows of each split as used.
        task: task with its labels.
        models: models of the experiment, whose network computes the features where it is on this machine.
        max_length: maximum number of tokens per text.
        seed: seed of the folds.
        log: receives progress messages.

    Raises:
        InputError: the task has no labels.
    """
    if LABEL not in {column.role for column in task.columns}:
        raise InputError(f"task {task.kind} has no labels that could be wrong", fix="run lft check without --deep")
    rows = _Rows.of(splits)
    pairs = near_duplicates(rows.texts, rows.keys)
    near = [_near(rows, pair) for pair in pairs]
    encoder = find_encoder(models)
    views: list[Any] = []
    if encoder is not None:
        if log is not None:
            log(f"features: {len(rows.texts):,} texts through {encoder.name}")
        views.append(_features(encoder, rows, max_length, log))
    targets = task.encode({"label": rows.labels})
    # Of several labels TF-IDF takes one fit for each label, fold and pass: minutes, where a network is there anyway.
    if encoder is None or task.is_exclusive:
        views.append(tfidf_matrix(rows.texts, max_length=max_length))
    told = [encoder.name] if encoder is not None else []
    told += ["TF-IDF"] if len(views) > len(told) else []
    sides = _sides(rows.parts)
    grouped = groups(rows.keys, pairs)
    together = linked(grouped, [text_keys(side)[0] for side in sides]) if sides else grouped
    fold = fold_of_rows(together, task.strata({"label": rows.labels}), seed=seed)
    probabilities = out_of_fold(views, targets, task, fold, seed=seed)
    is_judged = judged(targets, rows.keys, task)
    no_network = "" if encoder is not None else "no network of the experiment is on this machine, nor MiniLM"
    unskilled = cannot_judge(probabilities, targets) if sides and task.is_exclusive else ""
    return DeepReport(
        features=" and ".join(told),
        note="; ".join(filter(None, (no_network, unskilled))),
        rows=len(rows.texts),
        seed=seed,
        suspects=[] if unskilled else _suspects(rows, targets, probabilities, task, is_judged),
        not_judged=[name for name, enough in zip(task.labels, is_judged, strict=True) if not enough],
        near_duplicates=near,
        leaked={part.split: sum(one.split == part.split != one.other_split for one in near) for part in rows.parts[1:]},
        conflicting=sum(one.label != one.other_label for one in near),
        shared=_shared(rows.parts),
    )


def _features(
    encoder: Encoder, rows: "_Rows", max_length: int, log: Callable[[str], None] | None
) -> NDArray[np.float32]:
    """Vectors of the texts; of pairs what the vectors of their texts have in common, and where they differ."""
    sides = _sides(rows.parts)
    if not sides:
        return network_features(encoder, rows.texts, max_length=max_length, log=log)
    one, two = (network_features(encoder, side, max_length=max_length, log=log) for side in sides)
    return np.hstack([one * two, np.abs(one - two)])


def _sides(parts: Sequence[CleanRows]) -> list[list[str]]:
    """First and second text of all rows of pairs; empty for single texts."""
    roles = list(parts[0].inputs())
    return [[text for part in parts for text in part.values[role]] for role in roles if len(roles) == PAIR_TEXTS]


def _shared(parts: Sequence[CleanRows]) -> dict[str, dict[str, int]]:
    roles = list(parts[0].inputs())
    if len(roles) < PAIR_TEXTS:
        return {}
    known: dict[str, set[int]] = {role: set() for role in roles}
    found: dict[str, dict[str, int]] = {}
    for part in parts:
        for role in roles:
            keys = text_keys(part.values[role])[0].tolist()
            if known[role]:
                found.setdefault(part.split, {})[role] = sum(key in known[role] for key in keys)
            known[role].update(keys)
    return found


def judged(targets: NDArray[Any], keys: NDArray[np.uint64], task: LabelTask) -> NDArray[np.bool_]:
    """Which labels have enough different texts to be judged, bool [c]."""
    carried = [targets == label if task.is_exclusive else targets[:, label] > 0.5 for label in range(task.outputs)]
    return np.array([len(np.unique(keys[rows])) >= LEAST_TEXTS for rows in carried], np.bool_)


def groups(keys: NDArray[np.uint64], pairs: Sequence[NearPair]) -> NDArray[np.uint64]:
    """Keys of rows that must share a fold: near-duplicates get the key of the row that they repeat."""
    same: dict[int, int] = {}
    for pair in pairs:
        earlier = int(keys[pair.earlier])
        same[int(keys[pair.row])] = same.get(earlier, earlier)
    return np.array([same.get(key, key) for key in keys.tolist()], np.uint64)


def _suspects(
    rows: _Rows,
    targets: NDArray[Any],
    probabilities: NDArray[np.float64],
    task: LabelTask,
    is_judged: NDArray[np.bool_],
) -> list[Suspect]:
    if task.is_exclusive:
        found = scored(probabilities, targets)
        names = [[task.labels[label]] for label in found.suggested]
        enough = is_judged[targets] & is_judged[found.suggested]
    else:
        found, names = _several(targets, probabilities, task, is_judged)
        enough = np.ones(len(targets), np.bool_)
    listed = np.flatnonzero((found.score >= POSSIBLE) & enough)
    order = listed[np.argsort(-found.score[listed], kind="stable")]
    return [_suspect(rows, row, found, names[row]) for row in order.tolist()]


def _several(
    targets: NDArray[Any], probabilities: NDArray[np.float64], task: LabelTask, is_judged: NDArray[np.bool_]
) -> tuple[Scored, list[list[str]]]:
    """Each of several labels judged by itself; a row is as suspicious as its most suspicious label."""
    scores = np.full(targets.shape, -np.inf)
    for label in np.flatnonzero(is_judged).tolist():
        # A row has as many chances of being listed as there are labels.
        scores[:, label] = scored(*binary(probabilities[:, label], targets[:, label])).score - np.log(task.outputs)
    best = scores.argmax(axis=1)
    rows = np.arange(len(targets))
    flips = scores >= LIKELY
    flips[rows, best] = True
    wanted = (targets > 0.5) ^ flips
    names = [[name for name, carried in zip(task.labels, row, strict=True) if carried] for row in wanted]
    chance = np.where(targets[rows, best] > 0.5, 1 - probabilities[rows, best], probabilities[rows, best])
    return Scored(scores[rows, best], best.astype(np.int64), chance), names


def _suspect(rows: _Rows, row: int, found: Scored, names: list[str]) -> Suspect:
    file, line, split = rows.place(row)
    return Suspect(
        file=file,
        row=line,
        split=split,
        text=rows.texts[row][:SHOWN_CHARACTERS],
        label=",".join(rows.labels[row]),
        suggested=",".join(names),
        probability=round(float(found.probability[row]), 4),
        score=round(float(found.score[row]), 3),
        certainty="likely" if found.score[row] >= LIKELY else "possible",
    )


def _near(rows: _Rows, pair: NearPair) -> NearDuplicate:
    file, line, split = rows.place(pair.row)
    other_file, other_line, other_split = rows.place(pair.earlier)
    return NearDuplicate(
        file=file,
        row=line,
        split=split,
        text=rows.texts[pair.row][:SHOWN_CHARACTERS],
        label=",".join(rows.labels[pair.row]),
        other_file=other_file,
        other_row=other_line,
        other_split=other_split,
        other_label=",".join(rows.labels[pair.earlier]),
        similarity=round(pair.similarity, 3),
    )
