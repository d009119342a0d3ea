"""Quotation marks that swallow rows, and texts of several lines that do not."""

import pytest

from lft_ray.data.readers.quotes import plain_rows, swallowed
from lft_ray.data.readers.read import read_table, read_texts
from lft_ray.errors import DataError
from lft_ray.tasks.classification import Classification

ROWS = [f"note {i},{('pos', 'neg')[i % 2]}\n" for i in range(20)]


def table(tmp_path, content: str, name: str = "a.csv"):
    (tmp_path / name).write_text(content, newline="")
    return read_table(str(tmp_path / name), task=Classification)


def codes(found):
    return [(problem.severity, problem.code, problem.row) for problem in found.problems]


def test_a_quote_that_swallows_csv_rows_is_an_error(tmp_path):
    found = table(tmp_path, "text,label\n" + "".join(ROWS) + '"Great start,pos\nplain,neg\nonly inches: 5,pos\n",neg\n')
    assert codes(found) == [("error", "swallowed_rows", 22)]


@pytest.mark.parametrize(
    "text", ['"one\ntwo"', '"Hello, world\nbye"', '"Dear sir, hello\nfoo, bar\nend"', '"a ""b""\n, c"']
)
def test_texts_of_several_lines_are_read(tmp_path, text):
    found = table(tmp_path, "text,label\n" + "".join(ROWS) + f"{text},pos\n")
    assert not codes(found)
    assert len(found.values["text"]) == 21
    assert "span several lines" in next(iter(found.read_as.values()))


def test_tsv_whose_quotes_are_characters_is_read_whole(tmp_path):
    rows = ['"Great start\tpos', "plain row\tneg", "only inches: 5\tpos", '"\tneg', '"Fine" film\tpos']
    found = table(tmp_path, "text\tlabel\n" + "\n".join(rows) + "\n", "a.tsv")
    assert found.values["text"] == [row.split("\t")[0] for row in rows]
    assert [severity for severity, *_ in codes(found)] == ["warning"]
    assert "characters of the text" in next(iter(found.read_as.values()))


def test_tsv_with_quoted_fields_is_unquoted(tmp_path):
    found = table(tmp_path, 'text\tlabel\n"a ""b"" c"\tpos\n"two\nlines"\tneg\n', "a.tsv")
    assert found.values["text"] == ['a "b" c', "two\nlines"]
    assert not codes(found)


def test_tsv_with_a_row_too_short_stays_an_error(tmp_path):
    found = table(tmp_path, 'text\tlabel\n"open\tpos\nshort\nx\tneg\n', "a.tsv")
    assert ("error", "open_quote", 2) in codes(found)


def test_swallowed_needs_lines_that_look_like_rows():
    lines = ["text,label\n", *ROWS, '"start,pos\n', "x,neg\n", '",pos\n']
    options = {"delimiter": ",", "width": 2, "texts_at": {0}}
    assert [record.row for record in swallowed(lines, [(22, 24)], **options)] == [22]
    lines[21] = '"start,elsewhere\n'
    assert not swallowed(lines, [(22, 24)], **options)


def test_plain_rows():
    assert plain_rows(['a\t"b\r\n', "\n", "c\td\n"], "\t", 2) == [(1, ["a", '"b']), (3, ["c", "d"])]
    assert plain_rows(["a\tb\n", "c\n"], "\t", 2) is None


def test_blank_lines_keep_their_place_among_texts_to_label(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": 42}\n{"text": null}\n\n')
    assert read_texts(str(tmp_path / "a.jsonl")) == ["one", "", "42", ""]
    (tmp_path / "a.csv").write_text("text\none\n\ntwo\n\n")
    assert read_texts(str(tmp_path / "a.csv")) == ["one", "", "two"]


def test_other_types_of_texts_to_label_are_refused_in_their_words(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": true}\n')
    with pytest.raises(DataError, match="the text is true or false"):
        read_texts(str(tmp_path / "a.jsonl"))
    (tmp_path / "b.jsonl").write_text('{"text": "one", "label": NaN}\n{"text": "two", "label": {"a": 1}}\n')
    assert read_texts(str(tmp_path / "b.jsonl")) == ["one", "two"]


def test_texts_to_label_name_the_options_of_predict(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text\ncaf\xe9\n")
    with pytest.raises(DataError, match="--encoding cp1252"):
        read_texts(str(tmp_path / "a.csv"))
    assert read_texts(str(tmp_path / "a.csv"), encoding="cp1252") == ["caf\u00e9"]
    (tmp_path / "b.csv").write_text("words\nhi\n")
    with pytest.raises(DataError, match="--text NAME"):
        read_texts(str(tmp_path / "b.csv"))
