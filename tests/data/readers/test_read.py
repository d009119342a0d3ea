"""Which files are read, as what, and which columns of them."""

import pytest

from lft_ray.data.readers.read import read_table
from lft_ray.errors import ConfigError
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel


def test_glob_and_list_in_order(tmp_path):
    for name in ("b.csv", "a.csv", "c.tsv"):
        (tmp_path / name).write_text(f"text,label\n{name},x\n".replace(",", "\t" if name == "c.tsv" else ","))
    table = read_table([str(tmp_path / "c.tsv"), str(tmp_path / "*.csv")], task=Classification)
    assert table.values["text"] == ["c.tsv", "a.csv", "b.csv"]
    assert table.origin(2) == (str(tmp_path / "b.csv"), 2)
    assert len(table.files) == 3
    assert all(len(digest) == 64 for digest in table.files.values())


def test_a_file_named_twice_is_read_once(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nhi,x\n")
    table = read_table([str(tmp_path / "a.csv"), str(tmp_path / "*.csv")], task=Classification)
    assert table.values["text"] == ["hi"]
    assert [problem.code for problem in table.problems] == ["file_twice"]


@pytest.mark.parametrize("entry", ["missing.csv", "no-*.csv", ".", "https://example.org/a.csv"])
def test_no_file(tmp_path, monkeypatch, entry):
    monkeypatch.chdir(tmp_path)
    table = read_table(entry, task=Classification)
    assert [(p.severity, p.code) for p in table.problems] == [("error", "no_file")]
    assert table.problems[0].fix


def test_missing_file_names_its_nearest(tmp_path):
    (tmp_path / "reviews.csv").write_text("text,label\nhi,x\n")
    message = read_table(str(tmp_path / "review.csv"), task=Classification).problems[0].message
    assert "Did you mean" in message
    assert "reviews.csv" in message


def test_unknown_encoding(tmp_path):
    with pytest.raises(ConfigError, match="utf-9"):
        read_table("a.csv", task=Classification, encoding="utf-9")


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("label,text", ("text", "label")),
        ("Label,TEXT", ("TEXT", "Label")),
        ("id,review,sentiment", ("review", "sentiment")),
        ("title,text,class", ("text", "class")),
        (",headline,category", ("headline", "category")),
        ("question,intent,x", ("question", "intent")),
    ],
)
def test_columns_are_found_by_name(tmp_path, header, columns):
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n{','.join('abc'[: header.count(',') + 1])}\n")
    table = read_table(str(path), task=Classification)
    assert (table.names["text"], table.names["label"]) == columns
    assert table.problems == []


def test_given_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label,Fine_Label,body\na,b,c,d\n")
    table = read_table(str(path), names={"text": "body", "label": "fine_label"}, task=Classification)
    assert (table.values["text"], table.values["label"]) == (["d"], [["c"]])


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"label": "labl"}, "no_label_column", ["'label'", "'text'", "Did you mean 'label'"]),
        ({"text": "txt"}, "no_text_column", ["Did you mean 'text'"]),
        ({"text": "label"}, "same_column", ["'label'"]),
    ],
)
def test_given_columns_that_are_not_there(tmp_path, options, code, words):
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,b\n")
    problem = read_table(str(path), task=Classification, names=options).problems[0]
    assert problem.code == code
    assert all(word in problem.message for word in words)


def test_near_names_are_offered(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("txt,labell\na,b\n")
    messages = [problem.message for problem in read_table(str(path), task=Classification).problems]
    assert "Did you mean 'txt'?" in messages[0]
    assert "Did you mean 'labell'?" in messages[1]


def test_columns_that_differ_in_case_only(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Text,TEXT,label\na,b,c\n")
    assert [p.code for p in read_table(str(path), task=Classification).problems] == ["ambiguous_column"]


def test_files_with_different_columns(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    (tmp_path / "b.csv").write_text("review,label\na,b\n")
    table = read_table(str(tmp_path / "*.csv"), task=Classification)
    assert [p.code for p in table.problems] == ["columns_differ"]


@pytest.mark.parametrize(
    ("name", "content", "warned"),
    [
        ("a.txt", "text\tlabel\nhi\tx\n", False),
        ("a.txt", "text,label\nhi,x\n", False),
        ("a.csv", '{"text": "hi", "label": "x"}\n', True),
        ("a.jsonl", "text,label\nhi,x\n", True),
        ("a.txt", '[{"text": "hi", "label": "x"}]', False),
    ],
)
def test_content_goes_before_the_name(tmp_path, name, content, warned):
    (tmp_path / name).write_text(content)
    table = read_table(str(tmp_path / name), task=Classification)
    assert (table.values["text"], table.values["label"]) == (["hi"], [["x"]])
    assert [p.code for p in table.problems] == (["wrong_extension"] if warned else [])


def test_multilabel_looks_for_labels_first(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label,labels\nhi,q," x,y"\n')
    table = read_table(str(path), task=Multilabel)
    assert (table.names["label"], table.values["label"]) == ("labels", [["x", "y"]])


def test_one_file_by_several_paths_is_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,y\n")
    (tmp_path / "link.csv").symlink_to("a.csv")
    table = read_table(["a.csv", "./a.csv", "link.csv", str(tmp_path / "a.csv")], task=Classification)
    assert table.values["text"] == ["a", "b"]
    assert [problem.code for problem in table.problems] == ["file_twice"] * 3
    assert table.problems[1].message == "the file is listed twice, also as a.csv; it is read once"


def test_what_is_no_file_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone.csv").symlink_to("nowhere.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    for name, told in {
        "gone.csv": "gone.csv is a link to nowhere.csv, which does not exist",
        "loop.csv": "loop.csv is a link to loop.csv, which does not exist",
        "/dev/null": "/dev/null is a pipe or a device, which cannot be read twice",
        " ": "the name of a file is empty",
    }.items():
        (problem,) = read_table(name, task=Classification).problems
        assert (problem.code, problem.message) == ("no_file", told)
