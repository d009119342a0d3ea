"""Raw tables made in memory."""

import numpy as np

from lft_ray.data.clean import clean
from lft_ray.data.findings import Findings
from lft_ray.data.readers.table import CleanRows, RawTable


def raw_table(rows: list[tuple[str, list[str]]], file: str = "a.csv") -> RawTable:
    """Rows of one file, the first in line 2."""
    return RawTable(
        texts=[text for text, _ in rows],
        labels=[labels for _, labels in rows],
        paths=[file],
        file_index=np.zeros(len(rows), dtype=np.int32),
        row_numbers=np.arange(2, len(rows) + 2, dtype=np.int64),
        text_column="text",
        label_column="label",
        problems=[],
        files={file: "0"},
    )


def clean_rows(rows: list[tuple[str, list[str]]]) -> CleanRows:
    """The same rows after cleaning; rows without a label stay."""
    return clean(raw_table(rows), "train", allows_empty=True, findings=Findings())
