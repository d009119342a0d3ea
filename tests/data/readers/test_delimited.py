"""CSV and TSV are read strictly: whatever pandas would guess at is kept as it is, or is an error with its row."""

from pathlib import Path

import pytest

from lft_ray.data.readers.read import read_table
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.rows import RawTable


def read(path: Path, content: str | bytes, **options: str) -> RawTable:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(str(path), task=Classification, **options)


def codes(table: RawTable) -> list[tuple[str, str, int | None]]:
    return [(problem.severity, problem.code, problem.row) for problem in table.problems]


def test_strings_stay_strings(tmp_path):
    labels = ["NA", "None", "null", "01", "1", "True", "1e5", "nan"]
    table = read(tmp_path / "a.csv", "text,label\n" + "".join(f"t,{name}\n" for name in labels))
    assert [names[0] for names in table.values["label"]] == labels
    assert table.problems == []


def test_numeric_text_stays_text(tmp_path):
    assert read(tmp_path / "a.csv", "text,label\n007,a\n1.50,b\n").values["text"] == ["007", "1.50"]


def test_quotes_newlines_and_row_numbers(tmp_path):
    table = read(tmp_path / "a.csv", 'id,text,label\n1,"a ""big"",\nstory",x\n\n2,plain "word" here,y\n')
    assert table.values["text"] == ['a "big",\nstory', 'plain "word" here']
    assert [table.origin(i)[1] for i in range(2)] == [2, 5]
    assert table.problems == []


def test_byte_order_mark_is_dropped(tmp_path):
    table = read(tmp_path / "a.csv", b"\xef\xbb\xbftext,label\nhi,a\n")
    assert (table.names["text"], table.values["text"], table.problems) == ("text", ["hi"], [])


def test_tab_separated(tmp_path):
    table = read(tmp_path / "a.tsv", "label\tsentence\na\tone, two\n")
    assert (table.values["text"], table.values["label"]) == (["one, two"], [["a"]])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ("error", "empty_file", None)),
        ("\n \n", ("error", "empty_file", None)),
        ("text,label\n", ("error", "no_rows", None)),
        ("text;label\na;b\n", ("error", "delimiter", 1)),
        ("text\tlabel\na\tb\n", ("error", "delimiter", 1)),
        ('text,label\nfine,a\n"open,b\nnext,c\n', ("error", "open_quote", 3)),
        ('text,label\nfine,a\n"open,b\nnext,c\n"shut",d\n', ("error", "open_quote", 3)),
        ('text,label\n"he said \\"no\\"",b\n', ("error", "open_quote", 2)),
        ("text,label\nfine,a\none,two,b\n", ("error", "field_count", 3)),
        ("text,label\nfine,a\nshort\n", ("error", "field_count", 3)),
        ("text,label\n0,one,a\n1,two,b\n", ("error", "header_mismatch", 2)),
        ("text,label,label\na,b,c\n", ("error", "duplicate_header", 1)),
        ("text,label\nfine,a\nlone\rreturn,b\n", ("error", "field_count", 3)),
        ("text,name\na,b\n", ("error", "no_label_column", None)),
        ("words,label\na,b\n", ("error", "no_text_column", None)),
        (b"\x1f\x8b\x08\x00abc", ("error", "packed_file", None)),
        (b"PK\x03\x04abc", ("error", "packed_file", None)),
        ("text,label\nsch\u00f6n,a\n".encode("latin-1"), ("error", "encoding", 2)),
        ("text,label\nhi,a\n".encode("utf-16"), ("error", "encoding", None)),
        ("text,label\nhi,a\n".encode("utf-16-le"), ("error", "encoding", None)),
        ("text,label\nhi,a\n".encode("utf-32"), ("error", "encoding", None)),
    ],
)
def test_errors_name_the_row_and_a_fix(tmp_path, content, expected):
    table = read(tmp_path / "a.csv", content)
    assert expected in codes(table)
    assert all(problem.file.endswith("a.csv") and problem.fix for problem in table.problems)


def test_bad_byte_is_placed(tmp_path):
    table = read(tmp_path / "a.csv", b"text,label\nok,a\nsch\xf6n,b\n")
    assert "byte 0xf6 at byte 19" in table.problems[0].message
    assert table.problems[0].row == 3
    assert read(tmp_path / "b.csv", b"text,label\nsch\xf6n,b\n", encoding="cp1252").values["text"] == ["sch\u00f6n"]


def test_utf16_is_read_when_named(tmp_path):
    content = "text,label\nhi,a\n".encode("utf-16")
    assert read(tmp_path / "a.csv", content, encoding="utf-16").values["text"] == ["hi"]
    assert "utf-16" in read(tmp_path / "b.csv", content).problems[0].fix


def test_cut_utf16_is_an_error(tmp_path):
    table = read(tmp_path / "a.csv", "text,label\nhi,a\n".encode("utf-16")[:-1], encoding="utf-16")
    assert codes(table)[0][:2] == ("error", "encoding")


def test_many_bad_rows_are_listed_up_to_three_and_counted(tmp_path):
    table = read(tmp_path / "a.csv", "text,label\nfine,a\n" + "x\n" * 50)
    assert [problem.row for problem in table.problems] == [3, 4, 5, None]
    assert [problem.count for problem in table.problems] == [1, 1, 1, 47]


def test_all_problems_of_all_files_are_reported(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx\nfine,a\n")
    (tmp_path / "b.csv").write_text("text;label\na;b\n")
    table = read_table([str(tmp_path / "*.csv"), str(tmp_path / "c.csv")], task=Classification)
    assert [problem.code for problem in table.problems] == ["field_count", "delimiter", "no_file"]
    assert table.values["text"] == ["fine"]


def test_padding_is_trimmed_with_a_warning(tmp_path):
    table = read(tmp_path / "a.csv", "text, label \nhi, a\nho,a\n")
    assert table.values["label"] == [["a"], ["a"]]
    assert {(p.severity, p.code, p.count) for p in table.problems} == {
        ("warning", "padded_header", 1),
        ("warning", "padded_label", 1),
    }


def test_long_fields_pass_the_csv_modules_limit(tmp_path):
    long = "word " * 50_000
    assert read(tmp_path / "a.csv", f"text,label\n{long},a\n").values["text"] == [long]


def test_hundred_thousand_rows_take_less_than_ten_seconds_of_one_core(tmp_path):
    import time

    text = "a text of about as many words as a news headline with its first line has " * 3
    rows = "".join(f"{text}{i},{'abcd'[i % 4]}\n" for i in range(100_000))
    before = time.process_time()
    table = read(tmp_path / "a.csv", "text,label\n" + rows)
    assert len(table.values["text"]) == 100_000
    assert time.process_time() - before < 5


@pytest.mark.parametrize(("start", "row"), [("\n\n", 4), ("sep=,\n", 3), ("\ufeffsep=,\r\n", 3), ("\r\n", 3)])
def test_the_header_is_the_first_line_that_names_columns(tmp_path, start, row):
    table = read(tmp_path / "a.csv", start + "text,label\na,x\n")
    assert (table.values["text"], table.values["label"], table.problems) == (["a"], [["x"]], [])
    assert table.origin(0)[1] == row


def test_another_delimiter_that_excel_names_is_told(tmp_path):
    (problem,) = read(tmp_path / "a.csv", "sep=;\ntext;label\na;x\n").problems
    assert (problem.code, problem.row) == ("delimiter", 1)


def test_zeros_that_a_crash_left_are_no_utf16(tmp_path):
    table = read(tmp_path / "a.csv", b"text,label\na,x\n" + b"\0" * 4096)
    assert codes(table) == [("error", "field_count", 3)]
