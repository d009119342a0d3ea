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
