"""Read Parquet files and hub data sets. In: a path or ``hub:owner/name``. Out: columns by role.

Imports datasets lazily. Class numbers become class names where the file or data set defines them (Hugging Face's
``ClassLabel``).
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lft_ray.data.readers.columns import WantedColumns
from lft_ray.data.readers.context import ReadContext
from lft_ray.data.readers.kinds import kind_of
from lft_ray.data.readers.packed import open_binary, packed_kind
from lft_ray.data.readers.table import Cells, FileColumns
from lft_ray.tasks.findings import FileFindings, Findings

__all__ = ["HUB_PREFIX", "class_names_of", "parquet_source", "read_hub", "read_parquet"]

HUB_PREFIX = "hub:"
_HUB = re.compile(r"^hub:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?P<config>[\w.-]+))?$")


def read_parquet(context: ReadContext) -> FileColumns | None:
    """Read the wanted columns of a Parquet file; None, with an error in the findings, if it is unusable."""
    try:
        with parquet_source(context.path) as opened, pq.ParquetFile(opened) as source:
            names = source.schema_arrow.names
            positions = context.wanted.find(names, context.findings)
            if positions is None:
                return None
            chosen = {role: names[position] for role, position in positions.items()}
            table = source.read(columns=list(chosen.values()))
            metadata = source.schema_arrow.metadata or {}
    except (pa.ArrowException, OSError) as error:
        message = f"the Parquet file is damaged or truncated: {str(error).splitlines()[0]}"
        context.findings.error("damaged_file", message, fix="write or download it again")
        return None
    return _columns(table, chosen, _features(metadata), context.wanted, context.findings)


@contextmanager
def parquet_source(path: Path) -> Iterator[Any]:
    """The file for `pyarrow.parquet.ParquetFile`; a packed one in memory, since it is read from its end."""
    if not packed_kind(path):
        yield path
        return
    with open_binary(path) as stream:
        yield pa.BufferReader(stream.read())


def read_hub(
    spec: str, *, split: str, wanted: WantedColumns, findings: Findings
) -> tuple[FileColumns | None, dict[str, str]]:
    """Read one split of a hub data set, from the local cache when offline.

    Args:
        spec: ``hub:owner/name[@revision][:config]``.
        split: name of the split on the hub.
        wanted: columns to look for.
        findings: collects errors and warnings.

    Returns:
        The columns (None after an error), and ``spec#split`` -> sha256 of the rows read (empty after an error).
    """
    match = _HUB.match(spec)
    file = f"{spec}#{split}"
    if match is None:
        message = f"{spec!r} is not a hub data set"
        findings.error("hub", message, fix="write hub:owner/name, hub:owner/name@revision or hub:owner/name:config")
        return None, {}
    try:
        import datasets

        source: Any = datasets.load_dataset(match["name"], match["config"], revision=match["revision"], split=split)
    except Exception as error:  # datasets, huggingface_hub and fsspec share no base class  # noqa: BLE001
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"cannot load hub data set {match['name']!r}, split {split!r}: {reason}"
        fix = "check the name and your login; offline, download it first or use a local file"
        findings.error("hub", message, file=spec, fix=fix)
        return None, {}
    positions = wanted.find(source.column_names, findings.of(file))
    if positions is None:
        return None, {}
    chosen = {role: source.column_names[position] for role, position in positions.items()}
    table = source.select_columns(list(chosen.values())).with_format("arrow")[:]
    columns = _columns(table, chosen, source.features.to_dict(), wanted, findings.of(file))
    return columns, {file: _rows_hash(columns)} if columns else {}


def _rows_hash(columns: FileColumns) -> str:
    digest = hashlib.sha256()
    cells = [part if isinstance(part, list) else part.to_pylist() for part in columns.values.values()]
    for row in zip(*cells, strict=True):
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def class_names_of(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of the classes of each column that is a ``ClassLabel`` by the metadata of Hugging Face."""
    features = _features(schema.metadata or {})
    return {name: names for name, feature in features.items() if (names := _class_names(feature)) is not None}


def _features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """Features of each column by the metadata of Hugging Face; none where another program wrote something else."""
    try:
        found = json.loads(metadata.get(b"huggingface", b"{}"))
    except (ValueError, RecursionError):
        return {}
    for key in ("info", "features"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _class_names(feature: Any) -> list[str] | None:
    """Return the names of a ``ClassLabel`` feature, or of a list of them."""
    while isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
        feature = feature["feature"]
    if isinstance(feature, list) and feature:
        feature = feature[0]
    if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
        names = feature.get("names")
        return [str(name) for name in names] if isinstance(names, list) else None
    return None


def _columns(
    table: pa.Table,
    names: Mapping[str, str],
    features: Mapping[str, Any],
    wanted: WantedColumns,
    findings: FileFindings,
) -> FileColumns | None:
    if table.num_rows == 0:
        findings.error("no_rows", "the file has no rows", fix=wanted.rows_fix)
        return None
    values: dict[str, Cells] = {}
    for column in wanted.columns:
        name = names[column.role]
        whole, class_names = _whole(table.column(name)), _class_names(features.get(name))
        cells = kind_of(column).from_arrow(column, whole, class_names, findings, wanted.option(column.role))
        if cells is not None:
            values[column.role] = cells
    if len(values) < len(wanted.columns):
        return None
    rows = np.arange(1, table.num_rows + 1, dtype=np.int64)
    return FileColumns(values, {role: name.strip() for role, name in names.items()}, rows)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole
