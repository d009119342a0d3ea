"""Small labelled files, and records made of them."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lft_ray.config import DataSpec, TaskSpec
from lft_ray.data.prepare import prepare
from lft_ray.records import DatasetRecord
from lft_ray.run.storage import Storage

WriteCsv = Callable[[str, Sequence[tuple[str, str]]], str]


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCsv:
    """Write rows of text and label; returns the path."""

    def write(name: str, rows: Sequence[tuple[str, str]]) -> str:
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("text", "label"), *rows])
        return str(path)

    return write


def pets(count: int, start: int = 0) -> list[tuple[str, str]]:
    """Rows of two labels in turn, all texts different, of 3 to 12 words."""
    return [
        (f"{('cat purrs', 'dog barks')[i % 2]} {' '.join(['loud'] * (i % 10))} {i}", ("cat", "dog")[i % 2])
        for i in range(start, start + count)
    ]


@pytest.fixture
def pets_record(tmp_path: Path, write_csv: WriteCsv) -> DatasetRecord:
    """A prepared data set of 200 rows."""
    return prepare(TaskSpec(), DataSpec(train=write_csv("pets.csv", pets(200))), Storage(tmp_path / "run"))
