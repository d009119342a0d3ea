"""Packed files: read like plain ones, and never unpacked without bound."""

import bz2
import gzip
import io
import zipfile
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lft_ray.data.readers import packed
from lft_ray.data.readers.packed import PackedError, check_packed, inner_name, open_binary
from lft_ray.data.readers.read import read_table, read_texts
from lft_ray.tasks.classification import Classification

ROWS = "".join(f"Größe {i},{'ab'[i % 2]}\n" for i in range(50))
CSV = f"text,label\n{ROWS}"


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstd,
    ".zip": lambda data: zipped({"__MACOSX/._x.csv": b"?", "x.csv": data}),
}


def table(path, **keys):
    return read_table(str(path), task=Classification, **keys)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("suffix", PACK)
def test_packed_reads_as_plain(tmp_path, suffix, encoding):
    plain, other = tmp_path / "x.csv", tmp_path / f"x.csv{suffix}"
    plain.write_bytes(CSV.encode(encoding))
    other.write_bytes(PACK[suffix](CSV.encode(encoding)))
    keys = {} if encoding == "utf-8-sig" else {"encoding": encoding}
    expected, found = table(plain, **keys), table(other, **keys)
    assert (found.values["text"], found.values["label"], found.problems) == (
        expected.values["text"],
        expected.values["label"],
        [],
    )
    assert len(found.values["text"]) == 50
    assert "unpacked" in found.read_as[str(other)]
    assert len(read_texts(str(other), **keys)) == 50


def test_the_name_inside_gives_the_format(tmp_path):
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress(b'text\tlabel\nsay "a\tx\nsay b"\ty\n'))
    assert table(path).values["text"] == ['say "a', 'say b"']
    assert inner_name(path).name == "x.tsv"
    lines = tmp_path / "x.jsonl.zst"
    lines.write_bytes(PACK[".zst"](b'{"text": "a", "label": "b"}\n'))
    assert table(lines).values["text"] == ["a"]


def test_packed_parquet(tmp_path):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"], "label": ["x", "y"]}), buffer)
    path = tmp_path / "x.parquet.gz"
    path.write_bytes(gzip.compress(buffer.getvalue()))
    assert table(path).values["text"] == ["a", "b"]


def test_a_name_that_does_not_say_packed(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(gzip.compress(CSV.encode()))
    assert len(table(path).values["text"]) == 50


@pytest.mark.parametrize("suffix", PACK)
def test_a_bomb_is_refused_before_it_is_read(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(packed, "FREE_BYTES", 1 << 16)
    path = tmp_path / f"x.csv{suffix}"
    path.write_bytes(PACK[suffix](b"text,label\n" + bytes(4 << 20)))
    with pytest.raises(PackedError, match="unpacks to more than 200 times"):
        check_packed(path)
    [problem] = table(path).problems
    assert (problem.code, problem.severity, problem.file) == ("packed_file", "error", str(path))


def test_the_total_is_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "MAX_BYTES", 100)
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode()))
    with pytest.raises(PackedError, match="unpacks to more than"):
        check_packed(path)


@pytest.mark.parametrize("suffix", PACK)
def test_truncated_is_an_error(tmp_path, suffix):
    path = tmp_path / f"x.csv{suffix}"
    data = PACK[suffix](CSV.encode())
    path.write_bytes(data[: len(data) // 2])
    [problem] = table(path).problems
    assert (problem.code, problem.severity) == ("packed_file", "error")
    assert "damaged or truncated" in problem.message


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({}, "holds 0 files"),
        ({"a.csv": b"x", "b.csv": b"y"}, "holds 2 files ('a.csv', 'b.csv'), expected one"),
        ({"[Content_Types].xml": b"x", "xl/workbook.xml": b"y"}, "an Excel workbook"),
    ],
)
def test_zip_of_other_than_one_file(tmp_path, members, told):
    path = tmp_path / "x.zip"
    path.write_bytes(zipped(members))
    [problem] = table(path).problems
    assert told in problem.message


def test_tar_is_named(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(bytes(257) + b"ustar" + bytes(300)))
    assert "tar archive" in table(path).problems[0].message


def test_a_bad_byte_is_found_in_packed_text(tmp_path):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode("cp1252")))
    [problem] = table(path).problems
    assert (problem.code, problem.row) == ("encoding", 2)
    assert "cp1252" in problem.fix


def test_plain_files_open_as_they_are(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(CSV, encoding="utf-8")
    assert check_packed(path) == ""
    with open_binary(path) as stream:
        assert stream.read() == CSV.encode()
