"""Strict decoding: where the bad byte is."""

import pytest

from lft_ray.data.readers.columns import WantedColumns
from lft_ray.data.readers.context import ReadContext
from lft_ray.data.readers.decoding import text_encoding
from lft_ray.tasks.findings import Findings


def opened(path, content: bytes, encoding: str = "utf-8"):
    path.write_bytes(content)
    findings, text = Findings(), None
    with ReadContext(path, encoding, WantedColumns(None, None, ()), findings.of("a.csv")).open_text() as stream:
        text = stream.read()
    return text, findings.problems


@pytest.mark.parametrize(
    ("content", "row", "offset"), [(b"ok\n\xff\n", 2, "byte 3"), (b"a\n\xc3\xa4\nb\xe4c\n", 3, "byte 6")]
)
def test_open_text_gives_line_and_offset_of_a_bad_byte(tmp_path, content, row, offset):
    text, (problem,) = opened(tmp_path / "a.csv", content)
    assert (text, problem.code, problem.row) == (None, "encoding", row)
    assert f"at {offset} of the file" in problem.message


def test_open_text_reports_a_file_that_ends_inside_a_character(tmp_path):
    text, (problem,) = opened(tmp_path / "a.csv", "ä".encode()[:1])
    assert (text, problem.code) == (None, "encoding")


def test_text_encoding_drops_a_byte_order_mark_of_utf8_only(tmp_path):
    assert opened(tmp_path / "a.csv", b"\xef\xbb\xbfa") == ("a", [])
    assert [text_encoding(name) for name in ("UTF8", "utf-8", "cp1252")] == ["utf-8-sig", "utf-8-sig", "cp1252"]
