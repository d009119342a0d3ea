"""Lines of text files, and the place and likely encoding of a byte that does not fit."""

import io

import pytest

from lft_ray.data.readers.decoding import check_encoding, find_bad_byte, marked_encoding, read_lines, text_lines
from lft_ray.errors import ConfigError, InputError


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb", ["a", "b"]),
        ("a\n\n \nb\n", ["a", "", " ", "b"]),
        ("a\u2028b\x85c\x0cd\x0be\n", ["a\u2028b\x85c\x0cd\x0be"]),
        ("a\rb\nc\n", ["a\rb", "c"]),
        ("a\rb\r", ["a", "b"]),
        ("", []),
        ("\n", [""]),
    ],
)
def test_only_line_feeds_end_a_line(text, lines):
    assert text_lines(text) == lines


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_a_byte_order_mark_is_no_text(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("\ufeffone\ntwo\n" if encoding != "utf-16" else "one\ntwo\n", encoding=encoding)
    assert read_lines(str(tmp_path / "a.txt"), encoding=encoding) == ["one", "two"]


def test_a_bad_byte_is_placed_and_an_encoding_named():
    bad = find_bad_byte(io.BytesIO(b"plain\ncaf\xe9 noir\n"), "utf-8")
    assert bad is not None
    assert (bad.line, bad.fitting) == (2, "cp1252")
    assert "0xe9 at byte 9" in bad.message
    assert "caf\u00e9 noir" in bad.fix("--encoding ")
    assert bad.fix("--encoding ").startswith("--encoding cp1252 ")


def test_bytes_in_pairs_are_east_asian():
    bad = find_bad_byte(io.BytesIO("text\n\u6211\u7231\u5317\u4eac\n".encode("gbk")), "utf-8")
    assert bad is not None
    assert bad.fitting == "gb18030"
    assert "\u6211" in bad.reading


def test_a_file_that_ends_inside_a_character():
    bad = find_bad_byte(io.BytesIO(b"caf\xc3"), "utf-8")
    assert bad is not None
    assert bad.line == 1
    assert find_bad_byte(io.BytesIO("caf\u00e9\n".encode()), "utf-8") is None


@pytest.mark.parametrize(("encoding", "marked"), [("utf-16", "utf-16"), ("utf-32", "utf-32"), ("utf-8", "")])
def test_marks_show_the_encoding(encoding, marked):
    assert marked_encoding("some text".encode(encoding)) == marked


def test_other_encodings_are_bad_input(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\ntwo\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"a\.txt:1.*(?s:.*)--encoding utf-16"):
        read_lines(str(tmp_path / "a.txt"))
    with pytest.raises(InputError, match="stdin:2: byte 0xe9"):
        read_lines(None, io.BytesIO(b"a\ncaf\xe9\n"))
    assert read_lines(None, io.BytesIO(b"caf\xe9\n"), encoding="cp1252") == ["caf\u00e9"]


def test_unreadable_files_are_bad_input(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_lines(str(tmp_path))


@pytest.mark.parametrize("name", ["utf-9", "base64", "zlib", "a\0b", "idna", "undefined"])
def test_unknown_encodings(name):
    with pytest.raises(ConfigError, match="unknown encoding"):
        check_encoding(name)
