"""The recorded tasks. In: the folder of public data sets. Out: prepared data of a task, small and seeded.

Each task is cut to some hundred rows: the table is about how searches behave, so many short runs are worth more than
few long ones. Tasks differ in rows, so that M = parameters / sqrt(rows) has something to tell.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lft_ray.config import DataSpec, SplitSpec, TaskSpec
from lft_ray.data.prepare import prepare
from lft_ray.records import DatasetRecord
from lft_ray.run.storage import Storage

__all__ = ["TASKS", "RecordedTask", "prepared"]

GOEMOTIONS_LABELS = 6

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RecordedTask:
    """One data set of the table.

    Attributes:
        name: folder of the task in the table.
        folder: folder of the data set.
        train: file that train rows are drawn from.
        validation: file that validation rows are drawn from; None: other rows of ``train``.
        max_length: tokens kept of a text.
        rows: makes rows with text and label of a file's rows.
        train_rows: rows trained on.
        validation_rows: rows scored.
    """

    name: str
    folder: str
    train: str
    validation: str | None
    max_length: int
    rows: Callable[[Rows], Rows]
    train_rows: int = 1000
    validation_rows: int = 600


def _plain(rows: Rows) -> Rows:
    return [{"text": row["text"], "label": row["label"]} for row in rows]


def _commonest_emotions(rows: Rows) -> Rows:
    """Rows with one label that is among the six commonest of such rows."""
    single = [row for row in rows if len(row["labels"]) == 1]
    common = {label for label, _ in Counter(row["labels"][0] for row in single).most_common(GOEMOTIONS_LABELS)}
    return [{"text": row["text"], "label": row["labels"][0]} for row in single if row["labels"][0] in common]


TASKS = {
    task.name: task
    for task in (
        RecordedTask("trec", "trec", "train.parquet", None, 64, _plain),
        RecordedTask("goemotions6", "goemotions", "train.parquet", None, 64, _commonest_emotions, 800, 500),
        RecordedTask("sst2", "sst2", "train.parquet", "dev.parquet", 64, _plain, 400, 300),
        RecordedTask("sms_spam", "sms_spam", "train.parquet", None, 64, _plain, 250, 300),
        RecordedTask("ag_news", "ag_news", "train.parquet", None, 128, _plain),
    )
}


def prepared(task: RecordedTask, data: Path, work: Path) -> DatasetRecord:
    """Draw the rows of a task (seeded, without repeated texts), and run them through the product's own data stage."""
    folder = work / task.name
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    train = _drawn(task, data, task.train, rng)
    others = train[task.train_rows :] if task.validation is None else _drawn(task, data, task.validation, rng)
    seen = {row["text"] for row in train[: task.train_rows]}
    validation = [row for row in others if row["text"] not in seen][: task.validation_rows]
    for name, rows in (("train", train[: task.train_rows]), ("validation", validation)):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    spec = DataSpec(
        train=str(folder / "train.parquet"), validation=str(folder / "validation.parquet"), split=SplitSpec(test=0.0)
    )
    return prepare(TaskSpec(), spec, Storage(folder))


def _drawn(task: RecordedTask, data: Path, name: str, rng: np.random.Generator) -> Rows:
    rows = task.rows(pq.read_table(data / task.folder / name).to_pylist())
    once = list({row["text"]: row for row in rows}.values())
    return [once[i] for i in rng.permutation(len(once))]
