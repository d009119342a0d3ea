"""Raw tables made in memory."""

import numpy as np

from lft_ray.data.clean import clean
from lft_ray.tasks.columns import LABEL
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.multilabel import Multilabel
from lft_ray.tasks.rows import CleanRows, RawTable


def raw_table(rows: list[tuple[str, list[str]]], file: str = "a.csv") -> RawTable:
    """Rows of one file, the first in line 2."""
    return RawTable(
        columns=Multilabel.columns,
        values={"text": [text for text, _ in rows], LABEL: [labels for _, labels in rows]},
        names={"text": "text", LABEL: "label"},
        paths=[file],
        file_index=np.zeros(len(rows), dtype=np.int32),
        row_numbers=np.arange(2, len(rows) + 2, dtype=np.int64),
        problems=[],
        files={file: "0"},
    )


def clean_rows(rows: list[tuple[str, list[str]]]) -> CleanRows:
    """The same rows after cleaning; rows without a label stay."""
    return clean(raw_table(rows), "train", task=Multilabel, findings=Findings())
