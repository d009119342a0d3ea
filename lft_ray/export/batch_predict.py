"""Batch prediction: label every row of a file with a bundle, in this process, on all cores.

In: a bundle, a file. Out: a Parquet file. Resumable: every `CHUNK_ROWS` rows are written atomically as a part beside
the output, and a second call continues after the last part. Never starts Ray or an endpoint.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from lft_ray.data.readers.read import file_sha256, read_texts
from lft_ray.engines.base import Runner
from lft_ray.engines.batching import UnreadableText
from lft_ray.engines.bulk import BulkRunner
from lft_ray.errors import InputError
from lft_ray.export.bundle import OpenedBundle, open_bundle
from lft_ray.records import Problem, Record
from lft_ray.run.storage import Storage
from lft_ray.system.limits import cores
from lft_ray.system.paths import resolve
from lft_ray.tasks.base import Task
from lft_ray.texts import is_blank, repaired

__all__ = ["FilePredicted", "Progress", "predict_file"]

CHUNK_ROWS = 8192
"""Rows of a part. Half a minute of MiniLM in int8 on two cores, the most that an interruption can cost."""
JOB = "job.json"


class FilePredicted(Record):
    """Summary of a batch prediction.

    The output has the columns ``row`` (int64, from 0), ``text``, ``label`` (multilabel: ``labels``, a list),
    ``score`` (of the top label) and ``scores`` (list<float32>, in the order of the labels, which are stored in the
    metadata of the file under ``labels``, one a line, and under ``labels_json``). A row without a text has no label and
    no scores (null): there is one row for each row of the input, blank lines included.
    """

    output: str
    rows: int
    resumed_rows: int
    """Rows taken over from an earlier, interrupted call."""
    blank_rows: int = 0
    """Rows without a text: their label and scores are null."""
    seconds: float
    """Wall time of the call, including reading the input and writing the output."""
    rows_per_s: float
    """Throughput of this call, without resumed rows, input and output."""
    version: str
    engine: str
    precision: str
    warnings: list[Problem] = Field(default_factory=list)
    """How the input was read, where that is not plain: quoting, another column name, bytes or numbers as texts."""


class _Job(Record):
    """``job.json``: the job that a folder of parts belongs to."""

    input_sha256: str
    text: str
    version: str
    rows: int
    chunk_rows: int
    encoding: str = "utf-8"


Progress = Callable[[int, int, float], None]
"""Called after each part with rows done, rows in total, and rows per second so far."""


def predict_file(
    bundle: str | Path,
    source: str,
    output: str,
    *,
    text: str | None = None,
    encoding: str = "utf-8",
    progress: Progress = lambda done, rows, rate: None,
    workers: int | None = None,
) -> FilePredicted:
    """Label each row of a file. `FilePredicted` describes the columns of the output.

    Args:
        bundle: folder or URI of the bundle.
        source: CSV, TSV, JSONL, JSON or Parquet file with a text column; label columns are ignored.
        output: Parquet file to write; its parts are in ``<output>.parts`` until it is complete.
        text: name of the text column; None: detected by its name.
        encoding: encoding of a CSV, TSV or JSON file.
        progress: see `Progress`.
        workers: number of cores to use; None: all that this process may use.

    Raises:
        InputError: the output exists or is not a ``.parquet`` file, or the parts beside it belong to another job.
        DataError: the input cannot be read.
        BundleError: the bundle cannot be opened, or fails its smoke test.
    """
    started, target = time.perf_counter(), _checked_output(output)
    opened, runner = _opened(bundle)
    warnings: list[Problem] = []
    texts = [repaired(given) for given in read_texts(source, text=text, encoding=encoding, warnings=warnings)]
    parts = _Parts(target, _job(source, text, opened, len(texts), encoding))
    resumed = sum(min(CHUNK_ROWS, len(texts) - start) for start in parts.done())
    with closing(BulkRunner(runner, workers=workers or cores())) as bulk:
        rate = _fill(parts, texts, bulk, opened.task(), lambda done, rate: progress(resumed + done, len(texts), rate))
    parts.join(target)
    return FilePredicted(
        output=str(target),
        rows=len(texts),
        resumed_rows=resumed,
        blank_rows=sum(map(is_blank, texts)),
        seconds=time.perf_counter() - started,
        rows_per_s=rate,
        warnings=warnings,
        **opened.bundle.model_dump(include={"version", "engine", "precision"}),
    )


def _fill(
    parts: "_Parts", texts: list[str], bulk: BulkRunner, task: Task, progress: Callable[[int, float], None]
) -> float:
    """Predict the missing parts. Returns rows per second."""
    predicted, started = 0, time.perf_counter()
    for start in parts.missing():
        chunk = texts[start : start + CHUNK_ROWS]
        parts.put(start, _prediction_table(bulk, task, start, chunk))
        predicted += len(chunk)
        progress(predicted, predicted / (time.perf_counter() - started))
    return predicted / max(time.perf_counter() - started, 1e-9)


def _opened(bundle: str | Path) -> tuple[OpenedBundle, Runner]:
    storage = Storage(bundle)
    if not storage.exists():
        raise InputError(f"there is no bundle at {bundle}", fix="create one with `lft export RUN`")
    with storage.local_copy() as folder:
        opened = open_bundle(folder)
        runner = opened.open_runner(threads=1)
        opened.verify_smoke(runner)
    return opened, runner


class _Parts:
    """The parts of an output that are finished: one Parquet file per `CHUNK_ROWS` rows."""

    def __init__(self, target: Path, job: _Job) -> None:
        self._folder = Storage(f"{target}.parts")
        self._rows = job.rows
        if self._folder.exists(JOB):
            found = self._folder.get(JOB)
            if found != job.model_dump_json().encode():
                raise InputError(
                    f"{self._folder.uri} contains parts of another input, text column or bundle",
                    fix="remove that folder to start over, or choose another --output",
                )
        else:
            self._folder.put(JOB, job.model_dump_json())

    def done(self) -> list[int]:
        """First row of each part that exists."""
        return [start for start in self._starts() if self._folder.exists(_name(start))]

    def missing(self) -> Iterator[int]:
        """First row of each part that does not exist yet, in order."""
        return (start for start in self._starts() if not self._folder.exists(_name(start)))

    def put(self, start: int, table: pa.Table) -> None:
        """Store a part atomically."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self._folder.put(_name(start), sink.getvalue().to_pybytes())

    def join(self, target: Path) -> None:
        """Write the output from all parts atomically, then remove the parts."""
        folder = Path(self._folder.uri)
        whole = folder / "whole.parquet"  # beside the output, so that `replace` is an atomic rename
        with pq.ParquetWriter(whole, pq.read_schema(folder / _name(0)), compression="zstd") as writer:
            for start in self._starts():
                writer.write_table(pq.read_table(folder / _name(start)))
        whole.replace(target)
        self._folder.delete_folder()

    def _starts(self) -> range:
        return range(0, self._rows, CHUNK_ROWS)


def _name(start: int) -> str:
    return f"part-{start // CHUNK_ROWS:06d}.parquet"


def _prediction_table(bulk: BulkRunner, task: Task, start: int, texts: Sequence[str]) -> pa.Table:
    try:
        outputs = bulk.run(texts)
    except UnreadableText as error:
        raise InputError(
            f"row {start + error.row} of the input, counted from 0: {error.message}",
            fix="leave this row out, or export the model again from an intact base",
        ) from error
    # A text of nothing has no prediction: the model would give it the one that it gives most often.
    blank = np.fromiter(map(is_blank, texts), dtype=np.bool_, count=len(texts))
    answers = task.answer_table(outputs, blank, texts)
    rows = pa.table(
        {
            "row": pa.array(np.arange(start, start + len(texts), dtype=np.int64)),
            "text": pa.array(texts, pa.large_string()),
        }
    )
    for name in answers.column_names:
        rows = rows.append_column(name, answers[name])
    return rows.replace_schema_metadata(answers.schema.metadata)


def _job(source: str, text: str | None, opened: OpenedBundle, rows: int, encoding: str) -> _Job:
    return _Job(
        input_sha256=file_sha256(resolve(source)),
        text=text or "",
        version=opened.bundle.version,
        rows=rows,
        chunk_rows=CHUNK_ROWS,
        encoding=encoding,
    )


def _checked_output(output: str) -> Path:
    target = resolve(output)
    if target.suffix.lower() not in {".parquet", ".pq"}:
        raise InputError(f"the output must be a .parquet file, got {output!r}", fix="--output predictions.parquet")
    if not target.absolute().parent.is_dir():
        raise InputError(f"the folder of {output} does not exist", fix=f"mkdir -p {target.parent}")
    if target.exists():
        raise InputError(f"{output} already exists", fix="remove it, or choose another --output")
    return target
