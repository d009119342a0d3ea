"""Files of two columns of texts, as users have them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_table(folder: Path, suffix: str, names: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    """Write rows with an id to a file of a format that its suffix names. Returns its path."""
    path = folder / f"rows{suffix}"
    first, second = names
    if suffix == ".parquet":
        columns = list(zip(*rows, strict=True))
        pq.write_table(pa.table({second: columns[1], "id": list(range(len(rows))), first: columns[0]}), path)
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({"id": n, first: a, second: b}) for n, (a, b) in enumerate(rows)))
    else:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="," if suffix == ".csv" else "\t")
            writer.writerows([("id", *names), *((n, *row) for n, row in enumerate(rows))])
    return str(path)
