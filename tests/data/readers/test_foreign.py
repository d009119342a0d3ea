"""Files that are no table are named for what they are, whatever their name says."""

import pickle
import sqlite3

import pyarrow as pa
import pytest
from pyarrow import feather

from lft_ray.data.readers.foreign import foreign
from lft_ray.data.readers.preview import preview
from lft_ray.data.readers.read import read_table
from lft_ray.errors import DataError
from lft_ray.tasks.classification import Classification


def _sqlite(path):
    with sqlite3.connect(path) as database:
        database.execute("create table t (text, label)")
    database.close()


def _written(path, kind):
    if kind == "sqlite":
        _sqlite(path)
    elif kind == "feather":
        feather.write_feather(pa.table({"text": ["a"], "label": ["x"]}), path)
    else:
        path.write_bytes(BYTES[kind])
    return str(path)


BYTES = {
    "pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "pickle": pickle.dumps([("a", "x")]),
    "page": b"\n<!DOCTYPE HTML><html><body>Sign in, please</body></html>",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n",
    "rtf": b"{\\rtf1\\ansi text,label\n}",
    "excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100,
}
TOLD = {
    "pdf": "a PDF document", "pickle": "a Python pickle", "page": "a web page", "lfs": "a pointer of Git LFS",
    "rtf": "an RTF document", "excel": "an old Excel", "sqlite": "an SQLite database", "feather": "an Arrow (Feather)",
}  # fmt: skip


@pytest.mark.parametrize("kind", TOLD)
def test_the_file_is_named_and_no_encoding_is_advised(tmp_path, kind):
    path = _written(tmp_path / "a.csv", kind)
    (problem,) = read_table(path, task=Classification).problems
    assert problem.code == "no_table"
    assert TOLD[kind] in problem.message
    assert "encoding" not in problem.fix
    with pytest.raises(DataError) as refused:
        preview(tmp_path / "a.csv")
    assert TOLD[kind] in refused.value.message


@pytest.mark.parametrize(
    "head", [b"text,label\n", b"ORC,label\nx,y\n", b"<b>text</b>,label\n", b"version,label\n", b""]
)
def test_tables_are_not_foreign(head):
    assert foreign(head) is None
