"""Read Parquet files and hub data sets. In: a path or ``hub:owner/name``. Out: two columns. Imports datasets lazily.

Class numbers become class names where the file or data set defines them (Hugging Face's ``ClassLabel``).
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lft_ray.data.findings import FileFindings, Findings
from lft_ray.data.readers.columns import WantedColumns
from lft_ray.data.readers.context import ReadContext
from lft_ray.data.readers.packed import open_binary, packed_kind
from lft_ray.data.readers.table import FileColumns

__all__ = ["HUB_PREFIX", "class_names_of", "parquet_source", "read_hub", "read_parquet"]

HUB_PREFIX = "hub:"
_HUB = re.compile(r"^hub:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?P<config>[\w.-]+))?$")


def read_parquet(context: ReadContext) -> FileColumns | None:
    """Read the text and label columns of a Parquet file; None, with an error in the findings, if it is unusable."""
    try:
        with parquet_source(context.path) as opened, pq.ParquetFile(opened) as source:
            names = source.schema_arrow.names
            positions = context.wanted.find(names, context.findings)
            if positions is None:
                return None
            chosen = [names[position] for position in positions]
            table = source.read(columns=list(dict.fromkeys(chosen)))
            metadata = source.schema_arrow.metadata or {}
    except (pa.ArrowException, OSError) as error:
        message = f"the Parquet file is damaged or truncated: {str(error).splitlines()[0]}"
        context.findings.error("damaged_file", message, fix="write or download it again")
        return None
    class_names = _class_names(_features(metadata).get(chosen[1]))
    if context.wanted.only_text:
        return _only_texts(table, chosen[0], context)
    return _columns(table, (chosen[0], chosen[1]), class_names, context.findings)


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
    chosen = (source.column_names[positions[0]], source.column_names[positions[1]])
    table = source.select_columns(list(chosen)).with_format("arrow")[:]
    features = {name: feature for name, feature in source.features.to_dict().items() if name in chosen}
    columns = _columns(table, chosen, _class_names(features.get(chosen[1])), findings.of(file))
    return columns, {file: _rows_hash(columns)} if columns else {}


def _rows_hash(columns: FileColumns) -> str:
    digest = hashlib.sha256()
    for text, label in zip(columns.texts, columns.labels.to_pylist(), strict=True):
        digest.update(json.dumps([text, label]).encode())
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
    table: pa.Table, names: tuple[str, str], class_names: list[str] | None, findings: FileFindings
) -> FileColumns | None:
    if table.num_rows == 0:
        findings.error("no_rows", "the file has no rows", fix="add labelled rows")
        return None
    texts = _texts(_whole(table.column(names[0])), findings)
    labels = _labels(_whole(table.column(names[1])), class_names, findings)
    if texts is None or labels is None:
        return None
    rows = np.arange(1, table.num_rows + 1, dtype=np.int64)
    return FileColumns(texts, labels, rows, names[0].strip(), names[1].strip())


def _only_texts(table: pa.Table, name: str, context: ReadContext) -> FileColumns | None:
    if table.num_rows == 0:
        context.findings.error("no_rows", "the file has no rows", fix=context.wanted.rows_fix)
        return None
    texts = _texts(_whole(table.column(name)), context.findings, option=context.wanted.option("text"))
    rows = np.arange(1, table.num_rows + 1, dtype=np.int64)
    return None if texts is None else FileColumns(texts, pa.nulls(len(texts)), rows, name.strip(), name.strip())


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_scalar(kind: pa.DataType) -> bool:
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(_is_text(kind) or is_number or pa.types.is_boolean(kind))


def _decoded(column: pa.Array, findings: FileFindings) -> pa.Array | None:
    """Read bytes as UTF-8: writers that know no strings (Impala, old Spark) store them so; None after an error."""
    if not _is_bytes(column.type):
        return column
    try:
        decoded = column.cast(pa.large_string())
    except pa.ArrowInvalid:
        message = f"the column holds {column.type} that is not UTF-8 text"
        findings.error("binary_column", message, fix="store it as strings, or name another column")
        return None
    message = f"a column holds {column.type}; read as UTF-8 text"
    findings.warning("binary_column", message, count=len(column), fix="store it as strings")
    return decoded


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _texts(column: pa.Array, findings: FileFindings, *, option: str = "--set task.text=") -> list[str] | None:
    decoded = _decoded(column, findings)
    if decoded is None:
        return None
    column = decoded
    if not _is_scalar(column.type) or pa.types.is_boolean(column.type):
        message = f"the text column holds {column.type}, expected strings"
        findings.error("text_type", message, row=1, fix=f"name another column with {option}NAME")
        return None
    if not _is_text(column.type):
        message = f"the text column holds {column.type}; read as strings"
        findings.warning("numeric_text", message, row=1, count=len(column))
    if pa.types.is_floating(column.type):
        # NaN is a missing text, not the word.
        column = column.cast(pa.float32()) if pa.types.is_float16(column.type) else column
        column = pc.if_else(pc.fill_null(pc.is_nan(column), fill_value=False), pa.scalar(None, column.type), column)
    return [text if text is not None else "" for text in column.cast(pa.large_string()).to_pylist()]


def _labels(column: pa.Array, class_names: list[str] | None, findings: FileFindings) -> pa.Array | None:
    column = _plain_lists(column)
    decoded = _decoded(column, findings)
    if decoded is None:
        return None
    column, kind = decoded, decoded.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    item = kind.value_type if is_list else kind
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.large_string())
    if not (_is_scalar(item) or pa.types.is_null(item)):
        message = f"the label column holds {kind}, expected names, numbers or lists of these"
        findings.error("label_type", message, row=1, fix="name another column with --set task.label=NAME")
        return None
    if class_names is not None and pa.types.is_integer(item):
        if not _check_class_numbers(column, class_names, findings):
            return None
        return _named(column, class_names, is_list=is_list)
    if pa.types.is_floating(kind):
        return _float_labels(column, findings)
    return column.cast(pa.large_list(pa.large_string())) if is_list else column.cast(pa.large_string())


def _plain_lists(column: pa.Array) -> pa.Array:
    """Turn list views, and lists of dictionary-encoded or binary items, into lists of plain items."""
    kind = column.type
    is_view = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    if not is_view and not pa.types.is_list(kind) and not pa.types.is_large_list(kind):
        return column
    item = kind.value_type.value_type if pa.types.is_dictionary(kind.value_type) else kind.value_type
    if not is_view and item == kind.value_type:
        return column
    # Row by row: Arrow 26's cast from a view loses the rows after a null.
    return pa.array(column.to_pylist(), pa.large_list(item))


def _float_labels(column: pa.Array, findings: FileFindings) -> pa.Array | None:
    """Read floats as labels: NaN is a missing label, and whole numbers are written without a fraction.

    Class numbers become floats where a label is missing (pandas stores such a column so).
    """
    values = column.cast(pa.float64()) if pa.types.is_float16(column.type) else column
    infinite = np.flatnonzero(pc.fill_null(pc.is_inf(values), fill_value=False).to_numpy(zero_copy_only=False))
    if len(infinite):
        rows = [(int(row) + 1, f"the label is {values[int(row)].as_py()}") for row in infinite]
        fix = "write null for a row without a label, or remove the row"
        findings.error_rows("infinite_label", rows, summary="the label is infinite", fix=fix)
        return None
    is_nan = pc.fill_null(pc.is_nan(values), fill_value=False)
    values = pc.if_else(is_nan, pa.scalar(None, values.type), values)
    if nans := pc.sum(is_nan).as_py():
        row = int(np.argmax(is_nan.to_numpy(zero_copy_only=False))) + 1
        message = f"labels that are NaN: {nans:,}; read as missing"
        findings.warning("nan_label", message, row=row, count=nans, fix="write null, or remove these rows")
    if pc.all(pc.equal(pc.floor(values), values)).as_py() and (pc.max(pc.abs(values)).as_py() or 0) < 2**53:
        message = f"the label column holds {column.type} with whole numbers; read as whole numbers, such as 1 for 1.0"
        findings.warning(
            "float_label_column", message, count=len(column), fix="store the labels as strings or integers"
        )
        return values.cast(pa.int64()).cast(pa.large_string())
    return values.cast(pa.large_string())


def _check_class_numbers(column: pa.Array, class_names: list[str], findings: FileFindings) -> bool:
    """Refuse class numbers without a name: as rows without a label, a few of them would be dropped."""
    unknown = [number for number in _flat(column).unique().to_pylist() if not _is_class(number, len(class_names))]
    if not unknown:
        return True
    rows = []
    for row, value in enumerate(column.to_pylist(), start=1):
        bad = [n for n in (value if isinstance(value, list) else [value]) if not _is_class(n, len(class_names))]
        if bad:
            rows.append((row, f"the class number is {bad[0]}, but the file names {len(class_names)} classes, from 0"))
    fix = "write the file again with all class names, or with the names of labels instead of numbers"
    findings.error_rows("class_number", rows, summary="a class number without a name", fix=fix)
    return False


def _flat(column: pa.Array) -> pa.Array:
    return column.flatten() if pa.types.is_nested(column.type) else column


def _is_class(number: int | None, count: int) -> bool:
    return number is None or -1 <= number < count


def _named(column: pa.Array, class_names: list[str], *, is_list: bool) -> pa.Array:
    """Replace class numbers by names; -1 (as in unlabelled hub test splits) and null mean no label."""

    def name(number: int | None) -> str | None:
        return class_names[number] if number is not None and 0 <= number < len(class_names) else None

    if not is_list:
        # The entry behind the last name is null: numbers out of range map to it.
        lookup = pa.array([*class_names, None], pa.large_string())
        inside = pc.and_(pc.greater_equal(column, 0), pc.less(column, len(class_names)))
        return lookup.take(pc.fill_null(pc.if_else(inside, column, len(class_names)), len(class_names)))
    rows = [[name(number) for number in numbers or []] for numbers in column.to_pylist()]
    return pa.array(rows, pa.large_list(pa.large_string()))
