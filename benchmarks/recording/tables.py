"""The recorded table on disk: runs, points and predictions as Parquet, one folder a task, no texts.

In: what workers recorded. Out: Parquet files, replaced whole and atomically, so that recording can be cut anywhere.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["PARTS", "Table"]

PARTS = {
    "runs": pa.schema(
        [
            ("run_id", pa.uint32()), ("task", pa.string()), ("config_id", pa.uint32()), ("seed", pa.uint16()),
            ("size", pa.string()), ("depth", pa.uint8()), ("params", pa.uint64()), ("lr", pa.float64()),
            ("batch", pa.uint16()), ("epochs", pa.uint8()), ("method", pa.string()), ("max_len", pa.uint16()),
            ("precision", pa.string()), ("train_rows", pa.uint32()), ("validation_rows", pa.uint32()),
            ("status", pa.string()), ("core_s", pa.float64()), ("wall_s", pa.float64()), ("train_usd", pa.float64()),
            ("device", pa.string()), ("code_sha", pa.string()), ("data_sha", pa.string()),
        ]
    ),
    "points": pa.schema(
        [
            ("run_id", pa.uint32()), ("step", pa.uint32()), ("frac", pa.float32()), ("train_s", pa.float64()),
            ("eval_s", pa.float32()), ("train_usd", pa.float64()), ("val_f1", pa.float32()), ("val_loss", pa.float32()),
        ]
    ),
    "preds": pa.schema(
        [("run_id", pa.uint32()), ("row_id", pa.uint32()), ("y", pa.uint16()), ("p", pa.list_(pa.float16()))]
    ),
    "serve": pa.schema(
        [
            ("size", pa.string()), ("precision", pa.string()), ("eval_len", pa.uint16()), ("device", pa.string()),
            ("core_s_per_text", pa.float64()), ("core_s_per_request", pa.float64()), ("p50_ms", pa.float32()),
            ("p95_ms", pa.float32()), ("p99_ms", pa.float32()), ("rows_per_s", pa.float32()),
            ("usd_per_million", pa.float64()), ("n_reps", pa.uint16()),
        ]
    ),
}  # fmt: skip
"""Part -> columns."""


class Table:
    """The table of one task.

    Args:
        folder: of the task.
        loose: where workers put runs that are not in the Parquet files yet, one JSON file each.
    """

    def __init__(self, folder: Path, loose: Path) -> None:
        self.folder, self.loose = folder, loose
        self.folder.mkdir(parents=True, exist_ok=True)
        self.loose.mkdir(parents=True, exist_ok=True)

    def recorded(self) -> set[int]:
        """Ids of the runs that are there."""
        found = {int(path.stem) for path in self.loose.glob("*.json")}
        path = self.folder / "runs.parquet"
        return found | set(pq.read_table(path, columns=["run_id"])["run_id"].to_pylist()) if path.exists() else found

    def put_loose(self, run_id: int, parts: dict[str, list[dict[str, Any]]]) -> None:
        """Keep one run until the next `gather`."""
        path = self.loose / f"{run_id}.json"
        path.with_suffix(".part").write_text(json.dumps(parts))
        path.with_suffix(".part").replace(path)

    def gather(self) -> int:
        """Move loose runs into the Parquet files. Returns how many runs there are then."""
        paths = sorted(self.loose.glob("*.json"), key=lambda path: int(path.stem))
        found = [json.loads(path.read_text()) for path in paths]
        for part in ("preds", "points", "runs"):
            self.write(part, [row for one in found for row in one[part]])
        for path in paths:
            path.unlink()
        return len(self.recorded())

    def write(self, part: str, rows: Iterable[dict[str, Any]], *, keep: bool = True) -> None:
        """Add rows to a part, or replace it; a run that is there already is replaced."""
        path = self.folder / f"{part}.parquet"
        new = pa.Table.from_pylist(list(rows), schema=PARTS[part])
        if keep and path.exists():
            old = pq.read_table(path)
            fresh = set(new["run_id"].to_pylist())
            kept = old.filter(pa.array([run not in fresh for run in old["run_id"].to_pylist()], pa.bool_()))
            new = pa.concat_tables([kept, new])
        if "run_id" in new.column_names:
            new = new.sort_by([("run_id", "ascending")])
        pq.write_table(new, path.with_suffix(".part"), compression="zstd", compression_level=12)
        path.with_suffix(".part").replace(path)
