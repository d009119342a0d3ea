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
from lft_ray.data.keys import shuffled_keys
from lft_ray.data.readers.read import file_sha256, read_table
from lft_ray.data.split import carve, sample
from lft_ray.data.store import MOST_TEXTS, fingerprint, split_bytes
from lft_ray.errors import ConfigError, DataError, nearest
from lft_ray.records import DatasetRecord, SplitRecord
from lft_ray.run.storage import Storage
from lft_ray.tasks.base import Task
from lft_ray.tasks.columns import LABEL, TEXT, column_key
from lft_ray.tasks.facts import Facts
from lft_ray.tasks.find import find_task
from lft_ray.tasks.findings import Findings, raise_on_errors
from lft_ray.tasks.rows import CleanRows, RawTable
from lft_ray.texts import Text

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


def sample_texts(rows: CleanRows, *, seed: int, count: int = SAMPLE_TEXTS) -> list[Text]:
    """Return inputs at evenly spaced ranks of length, shuffled.

    The mean length of a plain random sample of 512 texts is off by a few percent; that of evenly spaced ranks is not.
    """
    lengths = np.array([len(text) for text in rows.identity], dtype=np.int64)
    hashes = shuffled_keys(rows.keys, seed=seed, salt="sample texts")
    by_length = np.lexsort((hashes, lengths))
    number = min(count, len(by_length))
    steps = (np.arange(number) + 0.5) * len(by_length) / max(number, 1)
    chosen = by_length[steps.astype(np.int64)]
    inputs = list(rows.inputs().values())
    return [_input(inputs, index) for index in chosen[np.argsort(hashes[chosen], kind="stable")].tolist()]


def _input(inputs: list[list[str]], row: int) -> Text:
    texts = [str(column[row])[:SAMPLE_CHARACTERS] for column in inputs]
    return (texts[0], texts[1]) if len(texts) == MOST_TEXTS else " ".join(texts)


@dataclass(frozen=True, slots=True)
class _Loaded:
    task: type[Task]
    tables: dict[str, RawTable]
    checked: CheckResult
    splits: dict[str, CleanRows]
    """Rows of each split as used; after an error, the clean rows before splitting."""
    facts: Facts
    """What the task learned from train; from no rows after an error."""
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
    facts, task = loaded.facts, loaded.task.of(loaded.facts)
    targets = {name: task.encode(rows.values) for name, rows in loaded.splits.items()}
    names = loaded.tables["train"].names
    stored = facts.model_dump(mode="json")
    identity = [task_spec.kind, *(names[column.role] for column in task.columns), *facts.identity()]
    return DatasetRecord(
        fingerprint=fingerprint(identity, loaded.splits, targets),
        source_files=_source_files(loaded),
        task_kind=task_spec.kind,
        text_column=names.get(TEXT.role, ""),
        label_column=names.get(LABEL, ""),
        labels=stored.get("labels", []),
        splits={name: _write(task, rows, targets[name], target) for name, rows in loaded.splits.items()},
        words_quantiles=words_quantiles(loaded.splits["train"].words),
        carved=loaded.carved,
        problems=loaded.findings.problems,
        sample_texts=sample_texts(loaded.splits["train"], seed=data.split.seed),
        other_columns={} if set(names) == {TEXT.role, LABEL} else names,
        other_facts={} if set(stored) == {"labels"} else stored,
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
        task: task with what it learned; after an error, as from no rows.
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
        columns={column.role: table.names.get(column.role, "") for column in loaded.task.columns},
        rows={name: len(rows) for name, rows in loaded.splits.items()},
        label_counts={name: loaded.task.counts(rows.values) for name, rows in loaded.splits.items()},
        words_quantiles=words_quantiles(train.words) if train is not None else {},
        duplicates=loaded.checked.duplicates,
        conflicts=loaded.checked.conflicts,
        overlaps=loaded.checked.overlaps,
        dropped={name: len(loaded.tables[name]) - len(rows) for name, rows in loaded.checked.rows.items()},
        carved=loaded.carved,
        seed=data.split.seed,
        source_files=_source_files(loaded),
        read_as={file: how for table in loaded.tables.values() for file, how in table.read_as.items()},
        problems=loaded.findings.problems,
    )
    return Inspected(card, loaded.task.of(loaded.facts), loaded.splits)


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
    task = find_task(task_spec.kind)
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
    splits, facts = dict(checked.rows), task.learn({column.role: [] for column in task.columns})
    if not findings.has_errors:
        facts = task.learn(splits["train"].values)
        splits = _split(task.of(facts), splits, carved, data, findings)
    return _Loaded(task, tables, checked, splits, facts, carved, findings)


def _read(task: type[Task], task_spec: TaskSpec, data: DataSpec) -> dict[str, RawTable]:
    given = _given(task, task_spec)
    train = read_table(data.train, task=task, names=given, encoding=data.encoding)
    tables = {"train": train}
    # Use the columns found in train for every split.
    names = {role: train.names.get(role) or name for role, name in given.items()}
    for name, spec in (("validation", data.validation), ("test", data.test)):
        if spec is not None:
            tables[name] = read_table(spec, task=task, names=names, encoding=data.encoding, hub_split=name)
    return tables


def _given(task: type[Task], task_spec: TaskSpec) -> dict[str, str | None]:
    """Role -> name of its column in the experiment; None where it names none.

    Raises:
        ConfigError: the experiment names a column for a role that the task does not have.
    """
    named: dict[str, str | None] = {TEXT.role: task_spec.text, LABEL: task_spec.label}
    twice = next((role for role in task_spec.columns if named.get(role) is not None), None)
    if twice is not None:
        message = f"task.columns.{twice} and {column_key(twice)} both name the column of the {twice}"
        raise ConfigError(message, fix=f"keep {column_key(twice)}")
    given = {role: name for role, name in (named | task_spec.columns).items() if name is not None}
    roles = [column.role for column in task.columns]
    for role in given:
        if role not in roles:
            message = f"{column_key(role)} is set, but task {task_spec.kind} has no such column: {', '.join(roles)}."
            raise ConfigError(message + nearest(role, roles), fix=f"remove {column_key(role)}")
    return {role: given.get(role) for role in roles}


def _split(
    task: Task, rows: dict[str, CleanRows], carved: dict[str, float], data: DataSpec, findings: Findings
) -> dict[str, CleanRows]:
    train = rows["train"]
    seed = data.split.seed
    if data.max_rows is not None and data.max_rows < len(train):
        # One text of each stratum for train and for every split carved from it.
        minimum = 1 + len(carved)
        sampled = sample(train.keys, task.strata(train.values), rows=data.max_rows, minimum=minimum, seed=seed)
        train = train.take("train", sampled)
    parts = carve(train.keys, task.strata(train.values), shares=carved, seed=seed)
    taken = {name: train.take(name, positions) for name, positions in parts.items()}
    merged = rows | taken
    splits: dict[str, CleanRows] = {name: merged[name] for name in ("train", "validation", "test") if name in merged}
    for name in ("train", *carved):
        task.check_split(splits[name], findings)
    return splits


def _source_files(loaded: _Loaded) -> dict[str, str]:
    return {file: digest for table in loaded.tables.values() for file, digest in table.files.items()}


def _write(task: Task, rows: CleanRows, targets: NDArray[Any], target: Storage) -> SplitRecord:
    payload = split_bytes(rows, targets)
    uri = target.put(f"data/{rows.split}.arrow", payload)
    counts, digest = task.counts(rows.values), hashlib.sha256(payload).hexdigest()
    return SplitRecord(name=rows.split, uri=uri, rows=len(rows), label_counts=counts, sha256=digest)
