"""Format detection by content, then by name."""

import gzip

import pytest

from lft_ray.data.readers.sniff import Format, sniff
from lft_ray.tasks.findings import Findings


def sniffed(path, content: bytes, encoding: str = "utf-8"):
    path.write_bytes(content)
    findings = Findings()
    return sniff(path, encoding, findings.of(path.name)), [problem.code for problem in findings.problems]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"text,label\n", (Format.CSV, [])),
        ("a.txt", b"text\tlabel\n", (Format.TSV, [])),
        ("a.csv", b'{"text": "a"}\n', (Format.JSON_LINES, ["wrong_extension"])),
        ("a.json", b'{"text": "a"}\n', (Format.JSON_LINES, [])),
        ("a.jsonl", b'[{"text": "a"}]', (Format.JSON_ARRAY, ["wrong_extension"])),
        ("a.csv", b"[text],label\n", (Format.CSV, [])),
        ("a.csv", b"PAR1", (Format.PARQUET, ["wrong_extension"])),
        ("a.parquet", b"text,label\n", (None, ["damaged_file"])),
        ("a.csv.xz", b"\xfd7zXZ\x00", (None, ["packed_file"])),
        ("a.csv.gz", gzip.compress(gzip.compress(b"text,label\n", mtime=0), mtime=0), (None, ["packed_file"])),
        ("a.tsv.gz", gzip.compress(b"text\tlabel\n", mtime=0), (Format.TSV, [])),
        ("a.csv", b" \n", (None, ["empty_file"])),
        ("a.csv", "text,label\n".encode("utf-16"), (None, ["encoding"])),
        ("a.csv", "text,label\n".encode("utf-16-be"), (None, ["encoding"])),
    ],
)
def test_sniff_goes_by_content_first(tmp_path, name, content, expected):
    assert sniffed(tmp_path / name, content) == expected


def test_sniff_accepts_utf16_when_configured(tmp_path):
    assert sniffed(tmp_path / "a.csv", "text,label\n".encode("utf-16"), "utf-16") == (Format.CSV, [])


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "gb18030"])
def test_utf8_that_is_read_in_another_encoding_is_told(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\na caf\u00e9,x\nna\u00efve \u20ac,y\n".encode())
    findings = Findings()
    assert sniff(path, encoding, findings.of("a.csv")) is Format.CSV
    (problem,) = findings.problems
    assert (problem.code, problem.severity) == ("encoding_utf8", "warning")
    assert f"is UTF-8 by its bytes, and is read as {encoding}: 'abel\\na caf\u00e9,x" in problem.message
    assert "--set data.encoding=utf-8" in problem.fix


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("text,label\na,x\n", "cp1252"),
        ("text,label\ncaf\u00e9,x\n", "cp1252"),
        ("text,label\n\u0442\u0435\u043a\u0441\u0442,x\n", "cp1251"),
        ("text,label\n\u4eca\u5929\u5929\u6c14\u5f88\u597d,x\n", "gb18030"),
        ("text,label\ncaf\u00e9,x\n", "utf-8"),
        ("text,label\ncaf\u00e9,x\n", "utf-16"),
        ("text,label\ncaf\u00e9,x\n", "utf-8-sig"),
    ],
)
def test_files_in_the_encoding_that_was_named_are_not_told(tmp_path, text, encoding):
    assert sniffed(tmp_path / "a.csv", text.encode(encoding), encoding) == (Format.CSV, [])
