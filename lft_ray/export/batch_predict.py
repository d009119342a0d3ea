"""Label every row of a file with a bundle, in this process, on all cores. In: files. Out: a Parquet file.

Resumable: each `CHUNK_ROWS` rows are a part beside the output, put there whole or not at all, and a second call goes on
after the last. Starts no Ray and no endpoint; the engine is the bundle's.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lft_ray.data.readers.read import file_sha256, read_texts
from lft_ray.engines.base import Runner
from lft_ray.engines.bulk import BulkRunner
from lft_ray.errors import InputError
from lft_ray.export.bundle import OpenedBundle, open_bundle
from lft_ray.records import Record
from lft_ray.run.storage import Storage
from lft_ray.tasks.base import Task

__all__ = ["FilePredicted", "Progress", "predict_file"]

CHUNK_ROWS = 8192
"""Half a minute of MiniLM's int8 on two cores: what an interruption costs at most."""
JOB = "job.json"


class FilePredicted(Record):
    """What was done.

    The output has the columns ``row`` (int64, from 0), ``text``, ``label`` (multilabel: ``labels``, a list),
    ``score`` (of the best label) and ``scores`` (list<float32>, in the order of the labels, which stand in the file's
    metadata under ``labels``).
    """

    output: str
    rows: int
    resumed_rows: int
    """Of an earlier call: not answered again."""
    seconds: float
    """Reading the input and writing the output included."""
    rows_per_s: float
    """Of the rows that this call answered, over the time it answered them in."""
    version: str
    engine: str
    precision: str


class _Job(Record):
    """What a folder of parts belongs to."""

    input_sha256: str
    text: str
    version: str
    rows: int
    chunk_rows: int


Progress = Callable[[int, int, float], None]
"""Called after each part with rows done, rows in all, and rows a second so far."""


def predict_file(
    bundle: str | Path,
    source: str,
    output: str,
    *,
    text: str | None = None,
    progress: Progress = lambda done, rows, rate: None,
    workers: int | None = None,
) -> FilePredicted:
    """Answer each row of a file; `FilePredicted` says with which columns.

    Args:
        bundle: folder or URI.
        source: CSV, TSV, JSONL, JSON or Parquet file with a text column; labels are not looked at.
        output: Parquet file to be made; its parts lie in ``<output>.parts`` until it is whole.
        text: text column; found by its name when None.
        progress: see `Progress`.
        workers: cores to use; None: all that this process may use.

    Raises:
        InputError: the output exists or is no ``.parquet``, or the parts beside it belong to another job.
        DataError: the input cannot be read.
        BundleError: the bundle cannot be opened, or does not give the answers that it was exported with.
    """
    begun, target = time.perf_counter(), _checked_output(output)
    opened, runner = _opened(bundle)
    texts = read_texts(source, text=text)
    parts = _Parts(target, _job(source, text, opened, len(texts)))
    resumed = sum(min(CHUNK_ROWS, len(texts) - start) for start in parts.done())
    with closing(BulkRunner(runner, workers=workers or _cores())) as bulk:
        rate = _fill(parts, texts, bulk, opened.task(), lambda done, rate: progress(resumed + done, len(texts), rate))
    parts.join(target)
    return FilePredicted(
        output=str(target),
        rows=len(texts),
        resumed_rows=resumed,
        seconds=time.perf_counter() - begun,
        rows_per_s=rate,
        **opened.bundle.model_dump(include={"version", "engine", "precision"}),
    )


def _fill(
    parts: "_Parts", texts: list[str], bulk: BulkRunner, task: Task, progress: Callable[[int, float], None]
) -> float:
    """Answer the parts that are missing. Returns rows a second."""
    answered, started = 0, time.perf_counter()
    for start in parts.missing():
        chunk = texts[start : start + CHUNK_ROWS]
        parts.put(start, _answers(bulk, task, start, chunk))
        answered += len(chunk)
        progress(answered, answered / (time.perf_counter() - started))
    return answered / max(time.perf_counter() - started, 1e-9)


def _opened(bundle: str | Path) -> tuple[OpenedBundle, Runner]:
    storage = Storage(bundle)
    try:
        folder = storage.local_folder("")
    except FileNotFoundError:
        raise InputError(f"there is no bundle at {bundle}", fix="`lft export RUN` makes one") from None
    try:
        opened = open_bundle(folder)
        runner = opened.open_runner(threads=1)
        opened.verify_smoke(runner)
    finally:
        if not storage.is_local:
            shutil.rmtree(folder, ignore_errors=True)
    return opened, runner


class _Parts:
    """The finished parts of an output: one Parquet file for each `CHUNK_ROWS` rows."""

    def __init__(self, target: Path, job: _Job) -> None:
        self._folder = Storage(f"{target}.parts")
        self._rows = job.rows
        if self._folder.exists(JOB):
            found = self._folder.get(JOB)
            if found != job.model_dump_json().encode():
                raise InputError(
                    f"{self._folder.uri} holds parts of another input, text column or bundle",
                    fix="remove that folder to start over, or choose another --output",
                )
        else:
            self._folder.put(JOB, job.model_dump_json())

    def done(self) -> list[int]:
        """First rows of the parts that are there."""
        return [start for start in self._starts() if self._folder.exists(_name(start))]

    def missing(self) -> Iterator[int]:
        """First rows of the others, in order."""
        return (start for start in self._starts() if not self._folder.exists(_name(start)))

    def put(self, start: int, table: pa.Table) -> None:
        """Keep a part, whole or not at all."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._folder.put(_name(start), sink.getvalue().to_pybytes())

    def join(self, target: Path) -> None:
        """Make the output of all parts, whole or not at all, and remove them."""
        folder = Path(self._folder.uri)
        whole = folder / "whole.parquet"
        with pq.ParquetWriter(whole, pq.read_schema(folder / _name(0)), compression="zstd") as writer:
            for start in self._starts():
                writer.write_table(pq.read_table(folder / _name(start)))
        whole.replace(target)
        self._folder.delete_folder()

    def _starts(self) -> range:
        return range(0, self._rows, CHUNK_ROWS)


def _name(start: int) -> str:
    return f"part-{start // CHUNK_ROWS:06d}.parquet"


def _answers(bulk: BulkRunner, task: Task, start: int, texts: Sequence[str]) -> pa.Table:
    scores = task.probabilities(bulk.run(texts))
    chosen = task.chosen(scores)
    one = task.kind == "classification"
    labels = pa.array([names[0] for names in chosen]) if one else pa.array(chosen, pa.list_(pa.string()))
    columns = {
        "row": pa.array(np.arange(start, start + len(texts), dtype=np.int64)),
        # A lone surrogate, which JSON can hold, is no character of UTF-8.
        "text": pa.array([text.encode("utf-8", "replace").decode("utf-8") for text in texts], pa.large_string()),
        "label" if one else "labels": labels,
        "score": pa.array(scores.max(axis=1)),
        "scores": pa.array(list(scores), pa.list_(pa.float32())),
    }
    return pa.table(columns).replace_schema_metadata({"labels": "\n".join(task.labels)})


def _job(source: str, text: str | None, opened: OpenedBundle, rows: int) -> _Job:
    return _Job(
        input_sha256=file_sha256(Path(source).expanduser()),
        text=text or "",
        version=opened.bundle.version,
        rows=rows,
        chunk_rows=CHUNK_ROWS,
    )


def _checked_output(output: str) -> Path:
    target = Path(output).expanduser()
    if target.suffix.lower() not in {".parquet", ".pq"}:
        raise InputError(f"the output is a Parquet file; got {output!r}", fix="--output answers.parquet")
    if not target.absolute().parent.is_dir():
        raise InputError(f"the folder of {output} does not exist", fix=f"mkdir -p {target.parent}")
    if target.exists():
        raise InputError(f"{output} exists", fix="remove it, or choose another --output")
    return target


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
