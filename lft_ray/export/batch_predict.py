"""Batch prediction: label every row of a file with a bundle, in this process, on all cores.

In: a bundle, a file. Out: a Parquet file. Resumable: every `CHUNK_ROWS` rows are written atomically as a part beside
the output, and a second call continues after the last part. Never starts Ray or an endpoint.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from lft_ray.data.readers.read import file_sha256, read_inputs
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
from lft_ray.tasks.columns import TEXT, input_columns
from lft_ray.texts import Text, is_blank, repaired

__all__ = ["FilePredicted", "Progress", "predict_file"]

CHUNK_ROWS = 8192
"""Rows of a part. Half a minute of MiniLM in int8 on two cores, the most that an interruption can cost."""
JOB = "job.json"


class FilePredicted(Record):
    """Summary of a batch prediction.

    The output has the columns ``row`` (int64, from 0), ``text`` (of pairs ``text_a`` and ``text_b``), ``label``
    (multilabel: ``labels``, a list), ``score`` (of the top label) and ``scores`` (list<float32>, in the order of the
    labels, which are stored in the metadata of the file under ``labels``, one a line, and under ``labels_json``). A row
    without a text has no label and no scores (null): there is one row for each row of the input, blank lines included.
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
    text: str | Mapping[str, str | None] | None = None,
    encoding: str = "utf-8",
    progress: Progress = lambda done, rows, rate: None,
    workers: int | None = None,
) -> FilePredicted:
    """Label each row of a file. `FilePredicted` describes the columns of the output.

    Args:
        bundle: folder or URI of the bundle.
        source: CSV, TSV, JSONL, JSON or Parquet file with a text column; label columns are ignored.
        output: Parquet file to write; its parts are in ``<output>.parts`` until it is complete.
        text: name of the text column; for pairs, role -> name of its column; None: detected by their names.
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
    names = _names(text, opened.task())
    columns = read_inputs(source, opened.task().columns, names=names, encoding=encoding, warnings=warnings)
    rows = _Rows({role: [repaired(given) for given in columns[role]] for role in names})
    parts = _Parts(target, _job(source, names, opened, len(rows), encoding))
    resumed = sum(min(CHUNK_ROWS, len(rows) - start) for start in parts.done())
    with closing(BulkRunner(runner, workers=workers or cores())) as bulk:
        rate = _fill(parts, rows, bulk, opened.task(), lambda done, rate: progress(resumed + done, len(rows), rate))
    parts.join(target)
    return FilePredicted(
        output=str(target),
        rows=len(rows),
        resumed_rows=resumed,
        blank_rows=int(rows.blank.sum()),
        seconds=time.perf_counter() - started,
        rows_per_s=rate,
        warnings=warnings,
        **opened.bundle.model_dump(include={"version", "engine", "precision"}),
    )


def _names(text: str | Mapping[str, str | None] | None, task: Task) -> dict[str, str | None]:
    """Role -> name of its column, for the inputs of the task.

    Raises:
        InputError: a column is named for a role that the task does not have.
    """
    roles = [column.role for column in input_columns(task.columns)]
    given = {TEXT.role: text} if text is None or isinstance(text, str) else dict(text)
    wrong = [role for role, name in given.items() if name is not None and role not in roles]
    if wrong:
        options = " and ".join(f"--{role.replace('_', '-')}" for role in roles)
        message = f"--{wrong[0].replace('_', '-')} names a column, and this model reads {' and '.join(roles)}"
        raise InputError(message, fix=f"name {'it' if len(roles) == 1 else 'them'} with {options}")
    return {role: given.get(role) for role in roles}


class _Rows:
    """The inputs of all rows, by role."""

    def __init__(self, columns: Mapping[str, list[str]]) -> None:
        self.columns = columns
        # A row without one of its texts has no prediction: the model would give it the one it gives most often.
        blank = [list(map(is_blank, cells)) for cells in columns.values()]
        self.blank = np.any(np.array(blank, dtype=np.bool_).reshape(len(blank), -1), axis=0)

    def __len__(self) -> int:
        return len(self.blank)

    def texts(self, start: int) -> list[Text]:
        """Inputs of a part."""
        parts = [cells[start : start + CHUNK_ROWS] for cells in self.columns.values()]
        return list(parts[0]) if len(parts) == 1 else [(first, second) for first, second in zip(*parts, strict=True)]


def _fill(parts: "_Parts", rows: _Rows, bulk: BulkRunner, task: Task, progress: Callable[[int, float], None]) -> float:
    """Predict the missing parts. Returns rows per second."""
    predicted, started = 0, time.perf_counter()
    for start in parts.missing():
        table = _prediction_table(bulk, task, start, rows)
        parts.put(start, table)
        predicted += table.num_rows
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


def _prediction_table(bulk: BulkRunner, task: Task, start: int, rows: _Rows) -> pa.Table:
    texts = rows.texts(start)
    try:
        outputs = bulk.run(texts)
    except UnreadableText as error:
        raise InputError(
            f"row {start + error.row} of the input, counted from 0: {error.message}",
            fix="leave this row out, or export the model again from an intact base",
        ) from error
    end = start + len(outputs)
    answers = task.answer_table(outputs, rows.blank[start:end], texts)
    table = pa.table({"row": pa.array(np.arange(start, end, dtype=np.int64))})
    for role, cells in rows.columns.items():
        table = table.append_column(role, pa.array(cells[start:end], pa.large_string()))
    for name in answers.column_names:
        table = table.append_column(name, answers[name])
    return table.replace_schema_metadata(answers.schema.metadata)


def _job(source: str, names: Mapping[str, str | None], opened: OpenedBundle, rows: int, encoding: str) -> _Job:
    return _Job(
        input_sha256=file_sha256(resolve(source)),
        # One column is kept as its name alone, as it was before there were tasks with several.
        text=next(iter(names.values())) or "" if len(names) == 1 else json.dumps(names),
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
