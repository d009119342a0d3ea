"""A sample of every column, and the encoding that a file looks like."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lft_ray.data.readers import preview as module
from lft_ray.data.readers.preview import preview
from lft_ray.errors import DataError

CSV = "text,label\n" + "".join(f"Größe {i} für Tür,{'ab'[i // 50]}\n" for i in range(100))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_encoding_is_what_reads_the_file(tmp_path, encoding, pack):
    path = tmp_path / "x.csv"
    path.write_bytes(pack(CSV.encode(encoding)))
    found = preview(path)
    assert CSV.encode(encoding).decode("utf-8-sig" if encoding == "utf-8" else encoding) == CSV
    assert found.columns["text"][0] == "Größe 0 für Tür"
    assert found.encoding.startswith(encoding.removesuffix("-sig"))
    assert bool(found.encoding_told) == (not encoding.startswith("utf-8"))


def test_no_encoding_that_fits_names_line_and_byte(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(CSV.encode() + bytes(range(128, 256)) * 40 + b",a\n")
    with pytest.raises(DataError, match=r"x.csv:102: byte 0x80 at byte \d") as caught:
        preview(path)
    assert "--encoding NAME" in (caught.value.fix or "")


def test_formats_give_the_same_columns(tmp_path):
    rows = [{"text": f"a {i}", "label": i % 2} for i in range(10)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "x.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    for name in ("x.jsonl", "x.json", "x.parquet"):
        found = preview(tmp_path / name)
        assert (found.columns, found.rows) == ({"text": [f"a {i}" for i in range(10)], "label": [0, 1] * 5}, 10)


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_a_sorted_file_is_seen_to_its_end(tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "KEPT_ROWS", 20)
    labels = ["a"] * 500 + ["b"] * 500
    if name == "x.csv":
        (tmp_path / name).write_text("text,label\n" + "".join(f"t {i},{label}\n" for i, label in enumerate(labels)))
    else:
        pq.write_table(pa.table({"text": [f"t {i}" for i in range(1000)], "label": labels}), tmp_path / name)
    found = preview(tmp_path / name)
    assert found.rows == 1000
    assert len(found.columns["label"]) <= 20
    assert set(found.columns["label"]) == {"a", "b"}
