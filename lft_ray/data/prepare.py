"""The data stage. In: the task and data sections of an experiment. Out: a `DatasetRecord` and Arrow files.

`prepare` reads, checks, samples and splits once, and later stages open the Arrow files. `inspect` does the same without
writing and returns a `DataCard`; `check_unchanged` guards a resume; `sample_texts` and `words_quantiles` summarise the
train texts for the cost model and the profiler. Never tokenises.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.config import DataSpec, TaskSpec
from lft_ray.data.check import CheckResult, DataCard, check
from lft_ray.data.findings import Findings, raise_on_errors
from lft_ray.data.keys import shuffled_keys
from lft_ray.data.labels import label_counts, sorted_labels
from lft_ray.data.readers.read import file_sha256, read_table
from lft_ray.data.readers.table import CleanRows, RawTable
from lft_ray.data.split import carve, sample
from lft_ray.data.store import fingerprint, split_bytes
from lft_ray.errors import DataError
from lft_ray.plugins import resolve
from lft_ray.records import DatasetRecord, SplitRecord
from lft_ray.run.storage import Storage
from lft_ray.tasks import TASKS
from lft_ray.tasks.base import Task

__all__ = ["Inspected", "check_unchanged", "inspect", "inspect_rows", "prepare", "sample_texts", "words_quantiles"]

SAMPLE_TEXTS = 512
"""Texts stored in the record, for profiling and for forecasting token counts."""
SAMPLE_CHARACTERS = 65_536
"""Sample texts are truncated here: 8,192 tokens, the most that is stored of a text, are mostly shorter than this."""


def words_quantiles(words: NDArray[np.int64]) -> dict[str, float]:
    """Return p50, p95, p99 and maximum of the words per text; empty without texts."""
    if not len(words):
        return {}
    middle, high, higher = np.quantile(words, [0.5, 0.95, 0.99])
    return {"p50": float(middle), "p95": float(high), "p99": float(higher), "max": float(words.max())}


def sample_texts(rows: CleanRows, *, seed: int, count: int = SAMPLE_TEXTS) -> list[str]:
    """Return texts at evenly spaced ranks of length, shuffled.

    The mean length of a plain random sample of 512 texts is off by a few percent; that of evenly spaced ranks is not.
    """
    lengths = np.array([len(text) for text in rows.texts], dtype=np.int64)
    hashes = shuffled_keys(rows.keys, seed=seed, salt="sample texts")
    by_length = np.lexsort((hashes, lengths))
    number = min(count, len(by_length))
    steps = (np.arange(number) + 0.5) * len(by_length) / max(number, 1)
    chosen = by_length[steps.astype(np.int64)]
    return [rows.texts[index][:SAMPLE_CHARACTERS] for index in chosen[np.argsort(hashes[chosen], kind="stable")]]


@dataclass(frozen=True, slots=True)
class _Loaded:
    task: type[Task]
    tables: dict[str, RawTable]
    checked: CheckResult
    splits: dict[str, CleanRows]
    """Rows of each split as used; after an error, the clean rows before splitting."""
    labels: list[str]
    carved: dict[str, float]
    findings: Findings


def prepare(task_spec: TaskSpec, data: DataSpec, target: Storage) -> DatasetRecord:
    """Read, check and split the data, and write it as Arrow files below ``target/data``.

    With ``data.max_rows`` the train rows are sampled BEFORE validation and test are carved from them, so that a small
    experiment is small everywhere; splits given as files are used whole.

    Args:
        task_spec: task kind and column names.
        data: source files and split settings.
        target: storage of the run folder.

    Returns:
        The record. It has a train and a validation split, and a test split where one is given or carved.

    Raises:
        DataError: the data is unusable; all problems are listed with file, row and fix.
        ConfigError: the task or the encoding is unknown.
    """
    loaded = _load(task_spec, data)
    raise_on_errors(loaded.findings.problems)
    task = loaded.task(loaded.labels)
    targets = {name: task.encode(rows.labels) for name, rows in loaded.splits.items()}
    table = loaded.tables["train"]
    identity = [task_spec.kind, table.text_column, table.label_column, *loaded.labels]
    return DatasetRecord(
        fingerprint=fingerprint(identity, loaded.splits, targets),
        source_files=_source_files(loaded),
        task_kind=task_spec.kind,
        text_column=table.text_column,
        label_column=table.label_column,
        labels=loaded.labels,
        splits={name: _write(rows, targets[name], target) for name, rows in loaded.splits.items()},
        words_quantiles=words_quantiles(loaded.splits["train"].words),
        carved=loaded.carved,
        problems=loaded.findings.problems,
        sample_texts=sample_texts(loaded.splits["train"], seed=data.split.seed),
    )


def inspect(task_spec: TaskSpec, data: DataSpec) -> DataCard:
    """Read and check the data as `prepare` does; write nothing, and return the problems instead of raising them.

    Raises:
        ConfigError: the task or the encoding is unknown.
    """
    return inspect_rows(task_spec, data).card


@dataclass(frozen=True, slots=True)
class Inspected:
    """What `inspect` read.

    Attributes:
        card: the data card, with all problems.
        task: task with its labels; no labels after an error.
        splits: rows of each split as used; after an error, the clean rows before splitting.
    """

    card: DataCard
    task: Task
    splits: dict[str, CleanRows]


def inspect_rows(task_spec: TaskSpec, data: DataSpec) -> Inspected:
    """`inspect`, with the rows that it read.

    Raises:
        ConfigError: the task or the encoding is unknown.
    """
    loaded = _load(task_spec, data)
    train = loaded.splits.get("train")
    table = loaded.tables["train"]
    card = DataCard(
        task_kind=task_spec.kind,
        text_column=table.text_column,
        label_column=table.label_column,
        rows={name: len(rows.texts) for name, rows in loaded.splits.items()},
        label_counts={name: label_counts(rows) for name, rows in loaded.splits.items()},
        words_quantiles=words_quantiles(train.words) if train is not None else {},
        duplicates=loaded.checked.duplicates,
        conflicts=loaded.checked.conflicts,
        overlaps=loaded.checked.overlaps,
        dropped={name: len(loaded.tables[name].texts) - len(rows.texts) for name, rows in loaded.checked.rows.items()},
        carved=loaded.carved,
        seed=data.split.seed,
        source_files=_source_files(loaded),
        read_as={file: how for table in loaded.tables.values() for file, how in table.read_as.items()},
        problems=loaded.findings.problems,
    )
    return Inspected(card, loaded.task(loaded.labels), loaded.splits)


def check_unchanged(record: DatasetRecord) -> None:
    """Refuse to resume a run whose source files have changed since the data stage.

    Only local files are hashed again; hub data sets are pinned by their revision.

    Raises:
        DataError: a file is gone or its content has changed.
    """
    changed = []
    for file, digest in record.source_files.items():
        if file.startswith("hub:"):
            continue
        if not Path(file).is_file():
            changed.append(f"{file} is gone")
        elif file_sha256(Path(file)) != digest:
            changed.append(f"{file} has changed")
    if changed:
        raise DataError(
            f"the data has changed since this run started: {'; '.join(changed)}",
            fix="restore the files, or start a new run with another name",
        )


def _load(task_spec: TaskSpec, data: DataSpec) -> _Loaded:
    task: type[Task] = resolve(task_spec.kind, TASKS, where="task.kind")
    tables = _read(task, task_spec, data)
    carved = {
        name: share
        for name, share, given in (
            ("validation", data.split.validation, data.validation),
            ("test", data.split.test, data.test),
        )
        if given is None and share > 0
    }
    findings = Findings()
    if sum(carved.values()) >= 1.0:
        message = f"data.split cuts {sum(carved.values()):.0%} of the rows off train, and leaves nothing to train on"
        findings.error("split_too_large", message, fix="lower data.split.validation or data.split.test")
    checked = check(tables, task, splits=1 + len(carved), allow_overlap=data.allow_overlap, findings=findings)
    splits, labels = dict(checked.rows), []
    if not findings.has_errors:
        labels = sorted_labels(splits["train"])
        splits = _split(task(labels), splits, carved, data, findings)
    return _Loaded(task, tables, checked, splits, labels, carved, findings)


def _read(task: type[Task], task_spec: TaskSpec, data: DataSpec) -> dict[str, RawTable]:
    train = read_table(data.train, text=task_spec.text, label=task_spec.label, task=task, encoding=data.encoding)
    tables = {"train": train}
    # Use the columns found in train for every split.
    text, label = train.text_column or task_spec.text, train.label_column or task_spec.label
    for name, spec in (("validation", data.validation), ("test", data.test)):
        if spec is not None:
            tables[name] = read_table(spec, text=text, label=label, task=task, encoding=data.encoding, hub_split=name)
    return tables


def _split(
    task: Task, rows: dict[str, CleanRows], carved: dict[str, float], data: DataSpec, findings: Findings
) -> dict[str, CleanRows]:
    train = rows["train"]
    seed = data.split.seed
    if data.max_rows is not None and data.max_rows < len(train.texts):
        # One text of each stratum for train and for every split carved from it.
        minimum = 1 + len(carved)
        sampled = sample(train.keys, task.strata(train.labels), rows=data.max_rows, minimum=minimum, seed=seed)
        train = train.take("train", sampled)
    parts = carve(train.keys, task.strata(train.labels), shares=carved, seed=seed)
    taken = {name: train.take(name, positions) for name, positions in parts.items()}
    merged = rows | taken
    splits: dict[str, CleanRows] = {name: merged[name] for name in ("train", "validation", "test") if name in merged}
    _check_splits(splits, task.labels, carved, findings)
    return splits


def _check_splits(
    splits: dict[str, CleanRows], labels: list[str], carved: dict[str, float], findings: Findings
) -> None:
    for name in ("train", *carved):
        missing = sorted(set(labels) - {label for names in splits[name].labels for label in names})
        if not splits[name].texts or (missing and name == "train"):
            message = f"no row of {missing[0]!r} is left for {name}" if missing else f"no row is left for {name}"
            findings.error("split_too_small", message, fix="add rows, or raise data.max_rows or the split's share")
        elif missing:
            lacking = f"lacks {len(missing)} of the labels, such as {missing[0]!r}: its macro-F1 leaves them out"
            message = f"the {name} split carved from train {lacking}"
            findings.warning("label_missing_in_split", message, count=len(missing), fix="label more texts of these")


def _source_files(loaded: _Loaded) -> dict[str, str]:
    return {file: digest for table in loaded.tables.values() for file, digest in table.files.items()}


def _write(rows: CleanRows, targets: NDArray[Any], target: Storage) -> SplitRecord:
    payload = split_bytes(rows, targets)
    uri = target.put(f"data/{rows.split}.arrow", payload)
    counts, digest = label_counts(rows), hashlib.sha256(payload).hexdigest()
    return SplitRecord(name=rows.split, uri=uri, rows=len(rows.texts), label_counts=counts, sha256=digest)
