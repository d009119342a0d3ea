"""Write a trial's artifacts: its checkpoint folder and its predictions. In: values. Out: URIs, checksums. Never trains.

The first attempt writes ``checkpoint`` and ``predictions``, attempt k > 1 ``checkpoint-k`` and ``predictions-k``, so
that a worker wrongly presumed dead overwrites nothing. Readers follow the URIs in the result.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lft_ray.data.store import target_column
from lft_ray.records import ScoredVariant
from lft_ray.run.checksums import Stored, StoredFolder, sha256s
from lft_ray.run.storage import Storage

__all__ = ["attempt_name", "node_folder", "put_checkpoint", "put_predictions", "variant"]


def attempt_name(name: str, attempt: int) -> str:
    """``name`` for the first attempt, ``name-<attempt>`` after it."""
    return name if attempt == 1 else f"{name}-{attempt}"


def node_folder(run: Storage, name: str) -> Path:
    """Folder for files that trials on this machine memory-map: inside the run folder if that is local.

    A bucket cannot be memory-mapped, so with a remote run folder each node has its own copy in its temporary folder.

    Raises:
        RunGoneError: the run folder was removed; its half is not made anew.
    """
    if not run.is_local:
        return Path(tempfile.gettempdir()) / f"lft-{name}-{os.getuid()}"
    run.check_exists()
    return Path(run.uri) / name


def put_checkpoint(storage: Storage, attempt: int, save: Callable[[Path], None]) -> StoredFolder:
    """Let ``save`` fill a folder, hash its files and upload it."""
    with tempfile.TemporaryDirectory(prefix="lft-checkpoint-") as name:
        folder = Path(name)
        save(folder)
        digests = sha256s(folder)
        return StoredFolder(storage.put_folder(attempt_name("checkpoint", attempt), folder), digests)


def put_predictions(
    storage: Storage,
    name: str,
    row_ids: NDArray[Any],
    targets: NDArray[Any],
    logits: NDArray[np.float32],
) -> Stored:
    """Write a Parquet file with row_id, target and logits (list<float32>), one row per text.

    Args:
        storage: the trial's folder.
        name: file name relative to ``storage``.
        row_ids: [n].
        targets: as the task encodes them, [n].
        logits: what the model says of each row, float32 [n, k].
    """
    target = target_column(targets) if targets.dtype == object else _column(targets)
    table = pa.table({"row_id": pa.array(row_ids), "target": target, "logits": _column(logits)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    payload = sink.getvalue().to_pybytes()
    return Stored(storage.put(name, payload), hashlib.sha256(payload).hexdigest())


def variant(
    precision: str, max_length: int, metrics: dict[str, float], *, metric: str, predictions: Stored
) -> ScoredVariant:
    """A variant of the checkpoint (serving precision and length) with its scores."""
    return ScoredVariant(
        precision=precision,
        max_length=max_length,
        f1=metrics[metric],
        metrics=metrics,
        predictions_uri=predictions.uri,
        predictions_sha256=predictions.sha256,
    )


def _column(values: NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    # A list column built from offsets: converting [n, c] row by row through Python lists would copy every number.
    count, width = values.shape
    offsets = pa.array(np.arange(0, count * width + 1, width, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values, np.float32).reshape(-1)))
