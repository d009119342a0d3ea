"""Splits as Arrow IPC files. In: clean rows and targets, or a record. Out: bytes, or a memory-mapped `Split`.

Columns: ``row_id`` uint32 (position in the split's own source), one for each input under its role (``text``), and
``target`` (int64, or a fixed-size list of float32 for several labels). Also the atomic writers and the create-once lock
that other caches use.
"""

import fcntl
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lft_ray.data.readers.kinds import kind_of
from lft_ray.errors import DataError
from lft_ray.records import DatasetRecord
from lft_ray.run.checksums import check_path, file_sha256
from lft_ray.run.storage import Storage
from lft_ray.tasks.columns import input_columns
from lft_ray.tasks.rows import CleanRows
from lft_ray.texts import Text

__all__ = [
    "Split",
    "create_once",
    "fingerprint",
    "load_split",
    "locked",
    "split_bytes",
    "target_array",
    "target_column",
    "write_batch",
    "write_batches",
]

T = TypeVar("T")

MOST_TEXTS = 2
"""Texts that a network reads as one sequence."""
_ROW_ID, _TARGET = "row_id", "target"
_RESTORE = "restore the file from a backup, or start over with --replace"


@dataclass(frozen=True)
class Split:
    """One split of n rows, memory-mapped and read-only."""

    name: str
    inputs: dict[str, pa.Array]
    """Role -> column [n]; of texts, large_string."""
    targets: NDArray[Any]
    """As the task encodes them: class indices int64 [n], float32 [n, c] of 0 and 1, or dictionaries, object [n]."""
    row_ids: NDArray[np.uint32]

    @cached_property
    def texts(self) -> list[Text]:
        """Input of each row, created on first access: a text, or two of them.

        Raises:
            DataError: the task has other inputs.
        """
        return list(self.slice(0, len(self)))

    def slice(self, start: int, count: int) -> Iterator[Text]:
        """Yield the inputs of ``count`` rows from ``start`` on; raises as `texts`."""
        columns = [column.slice(start, count).to_pylist() for column in self.inputs.values()]
        if len(columns) == 1:
            yield from columns[0]
        elif len(columns) == MOST_TEXTS:
            yield from zip(*columns, strict=True)
        else:
            raise DataError(
                f"the rows of the {self.name} split have the inputs {', '.join(self.inputs)}, expected one text or two",
                fix="choose a task.kind on one text or on pairs",
            )

    def __len__(self) -> int:
        return len(self.row_ids)


def fingerprint(identity: list[str], splits: Mapping[str, CleanRows], targets: Mapping[str, NDArray[Any]]) -> str:
    """Return the sha256 of the task identity (kind, columns, facts) and of every row of every split."""
    digest = hashlib.sha256()

    def add(values: list[str]) -> None:
        # Lengths first, so that moving a border between two strings changes the hash.
        encoded = [value.encode() for value in values]
        digest.update(np.array([len(encoded), *map(len, encoded)], dtype="<u8").tobytes())
        digest.update(b"".join(encoded))

    add(identity)
    for name, rows in splits.items():
        for values in rows.inputs().values():
            add([name, *(value if isinstance(value, str) else json.dumps(value) for value in values)])
        digest.update(rows.row_ids.astype("<u4").tobytes())
        if targets[name].dtype == object:
            add([json.dumps(target) for target in targets[name]])
        else:
            kind = "<f4" if targets[name].ndim > 1 else "<i8"
            digest.update(np.ascontiguousarray(targets[name]).astype(kind).tobytes())
    return digest.hexdigest()


def target_column(targets: NDArray[Any]) -> pa.Array:
    """Return targets as an Arrow column: int64, fixed-size lists of float32, or structs for dictionaries."""
    if targets.dtype == object:
        return pa.array(list(targets))
    if targets.ndim == 1:
        return pa.array(targets, pa.int64())
    flat = pa.array(np.ascontiguousarray(targets, dtype=np.float32).reshape(-1), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, targets.shape[1])


def target_array(column: pa.Array) -> NDArray[Any]:
    """Return a column written by `target_column` as int64 [n] or float32 [n, c], without a copy where possible.

    Structs are returned as dictionaries, object [n].
    """
    if pa.types.is_struct(column.type):
        rows = np.empty(len(column), dtype=object)
        rows[:] = column.to_pylist()
        return rows
    if pa.types.is_fixed_size_list(column.type):
        flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(column), column.type.list_size)
    whole: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return whole


def split_bytes(rows: CleanRows, targets: NDArray[Any]) -> bytes:
    """Return a split as an Arrow IPC file of one batch (one, so that columns map as one array)."""
    inputs = {
        column.role: kind_of(column).stored(rows.values[column.role]) for column in input_columns(rows.raw.columns)
    }
    row_id, target = pa.array(rows.row_ids.astype(np.uint32)), target_column(targets)
    batch = pa.record_batch({_ROW_ID: row_id, **inputs, _TARGET: target})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def load_split(record: DatasetRecord, name: str, cache: Path | None = None) -> Split:
    """Open a split, memory-mapped.

    Args:
        record: data set, as returned by `prepare`.
        name: train, validation or test.
        cache: folder for local copies of files in a bucket; a temporary folder when None.

    Raises:
        DataError: the data set has no such split, or its file is missing or of other rows.
        DamagedFileError: the file is not the one that was written.
    """
    if name not in record.splits:
        raise DataError(f"the data set has no split {name!r}: it has {', '.join(record.splits)}")
    path = _local(record, name, cache)
    try:
        check_path(path, record.splits[name].sha256, fix=_RESTORE)
        with pa.memory_map(str(path)) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
    except (OSError, pa.ArrowException, IndexError) as error:
        raise DataError(f"split {name!r} at {path} cannot be read: {error}", fix=_RESTORE) from error
    if batch.num_rows != record.splits[name].rows:
        message = f"split {name!r} at {path} has {batch.num_rows} rows, its record says {record.splits[name].rows}"
        raise DataError(message, fix=_RESTORE)
    return Split(
        name=name,
        inputs={role: batch.column(role) for role in batch.schema.names if role not in (_ROW_ID, _TARGET)},
        targets=target_array(batch.column(_TARGET)),
        row_ids=batch.column(_ROW_ID).to_numpy(),
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive file lock between the processes of this machine."""
    # The kernel releases the lock when its holder dies, so a killed worker leaves no stale lock.
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def create_once(path: Path, read: Callable[[], T | None], make: Callable[[], None]) -> T | None:
    """Read a file shared by the processes of this machine, creating it first where it does not exist.

    Args:
        path: the file; its folder is created.
        read: returns the content of the file, or None where it is missing, truncated or of another version.
        make: writes the file atomically. It runs in one process at a time: concurrent calls wait for a lock.

    Returns:
        The result of ``read`` after the file was created.
    """
    found = read()
    if found is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            # Another process may have created it while this one waited.
            found = read()
            if found is None:
                make()
                found = read()
    return found


def write_batch(batch: pa.RecordBatch, path: Path) -> None:
    """Write an Arrow IPC file of one batch, atomically."""
    write_batches(batch.schema, [batch], path)


def write_batches(schema: pa.Schema, batches: Iterable[pa.RecordBatch], path: Path) -> None:
    """Write an Arrow IPC file atomically, one batch at a time: only the current batch is in memory."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as stream:
            with pa.ipc.new_file(stream, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _local(record: DatasetRecord, name: str, cache: Path | None) -> Path:
    uri = record.splits[name].uri
    folder, _, file = uri.rpartition("/")
    storage = Storage(folder)
    if storage.is_local:
        return Path(storage.uri) / file
    if cache is None:
        cache = Path(tempfile.gettempdir()) / f"lft-data-{os.getuid()}"
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{record.fingerprint[:12]}-{file}"
    expected = record.splits[name].sha256
    if not path.exists() or (expected and file_sha256(path) != expected):
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        temporary.write_bytes(storage.get(file))
        temporary.replace(path)
    return path
