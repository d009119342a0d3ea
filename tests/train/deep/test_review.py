"""The file of suspects: what stands in it, and what becomes of its fixes."""

import csv
import json

import pytest

from lft_ray.config import DataSpec, TaskSpec
from lft_ray.data.prepare import inspect_rows
from lft_ray.errors import InputError
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.columns import Column
from lft_ray.tasks.pairs import Pairs
from lft_ray.train.deep.check import DeepReport, NearDuplicate, Suspect
from lft_ray.train.deep.review import NO_LABEL, REMOVE, quoted, unquoted, write_fixed, write_review


def suspect(file: str, row: int, text: str, label: str = "cat", suggested: str = "dog") -> Suspect:
    return Suspect(
        file=file, row=row, split="train", text=text, label=label, suggested=suggested, probability=0.9, score=1.0,
        certainty="likely",
    )  # fmt: skip


def report(*suspects: Suspect, near: tuple[NearDuplicate, ...] = ()) -> DeepReport:
    return DeepReport(
        features="TF-IDF", rows=9, seed=0, suspects=list(suspects), not_judged=[], near_duplicates=list(near),
        leaked={}, conflicting=0,
    )  # fmt: skip


ROWS = [(f"=text {number}, with a comma", ("cat", "dog")[number % 2]) for number in range(60)]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("body", "topic"), *ROWS])
    return inspect_rows(TaskSpec(text="body", label="topic"), DataSpec(train=str(path))), str(path)


def filled(tmp_path, file: str, fixes: dict[int, str], *, delimiter=",", encoding="utf-8-sig", edit=lambda text: text):
    """The review of rows, with some fixes filled in as a spreadsheet would save them."""
    path = tmp_path / "review.csv"
    write_review(report(*[suspect(file, row, ROWS[row - 2][0]) for row in range(2, 12)]), path)
    with path.open(newline="", encoding="utf-8-sig") as stream:
        lines = list(csv.DictReader(stream))
    for line in lines:
        line["fix"] = fixes.get(int(line["row"]), "")
        line["text"] = edit(line["text"])
    with path.open("w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, list(lines[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(lines)
    return path


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-x", "@a", "\tx", "'=1", "''-", "plain", "'plain", "", "a=b"])
def test_quoting_is_undone(cell):
    assert unquoted(quoted(cell)) == cell
    assert quoted(cell)[:1] not in set("=+-@\t\r")


def test_lines_of_the_file(tmp_path):
    near = NearDuplicate(
        file="a.csv", row=9, split="test", text="near", label="cat", other_file="a.csv", other_row=3,
        other_split="train", other_label="dog", similarity=0.9,
    )  # fmt: skip
    path = tmp_path / "s.csv"
    assert write_review(report(suspect("a.csv", 4, "@text\nof two lines", suggested=""), near=(near,)), path) == 2
    with path.open(newline="", encoding="utf-8-sig") as stream:
        first, second = csv.DictReader(stream)
    assert (first["row"], first["text"], first["suggested"]) == ("4", "'@text\nof two lines", NO_LABEL)
    assert (second["finding"], second["duplicate_of"]) == ("near_duplicate", "a.csv:3 (train, dog)")
    assert first["fix"] == second["fix"] == ""
    with pytest.raises(InputError, match="already exists"):
        write_review(report(), path)


@pytest.mark.parametrize(
    ("delimiter", "encoding", "edit"),
    [(",", "utf-8", str), (";", "utf-8-sig", str.strip), ("\t", "utf-8", lambda text: f"{text}  ")],
)
def test_fixes_are_applied(tmp_path, data, delimiter, encoding, edit):
    found, file = data
    review = filled(tmp_path, file, {2: "dog", 5: REMOVE}, delimiter=delimiter, encoding=encoding, edit=edit)
    fixed = write_fixed(review, found.splits, found.task, tmp_path / "fixed")
    assert (fixed.relabelled, fixed.removed, fixed.unfixed) == (1, 1, 8)
    assert list(fixed.files) == ["train"]
    lines = [json.loads(line) for line in (tmp_path / "fixed" / "train.jsonl").read_text("utf-8").splitlines()]
    expected = [("dog" if row == 0 else label, text) for row, (text, label) in enumerate(ROWS) if row != 3]
    assert [(line["topic"], line["body"]) for line in lines] == expected
    again = inspect_rows(TaskSpec(), DataSpec(train=fixed.files["train"]))
    assert again.card.errors == []
    with pytest.raises(InputError, match="already exists"):
        write_fixed(review, found.splits, found.task, tmp_path / "fixed")


def test_a_fix_that_is_no_label_writes_nothing(tmp_path, data):
    found, file = data
    with pytest.raises(
        InputError, match=r"review.csv:3: fix 'dgo' is not a label: expected 'cat', 'dog' or \(remove\)"
    ):
        write_fixed(filled(tmp_path, file, {3: "dgo"}), found.splits, found.task, tmp_path / "fixed")
    assert not (tmp_path / "fixed").exists()


def test_a_fix_of_a_text_that_has_changed_is_refused(tmp_path, data):
    found, file = data
    review = filled(tmp_path, file, {3: "dog"}, edit=lambda text: f"{text} edited")
    with pytest.raises(InputError, match="the data has changed"):
        write_fixed(review, found.splits, found.task, tmp_path / "fixed")


def test_a_fix_of_another_file_is_refused(tmp_path, data):
    review = tmp_path / "r.csv"
    review.write_text("file,row,text,fix\nother.csv,3,x,dog\n", encoding="utf-8")
    with pytest.raises(InputError, match="the data has changed"):
        write_fixed(review, data[0].splits, data[0].task, tmp_path / "fixed")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a,b\n1,2\n", "has no column 'file'"),
        ("", "has no column 'file'"),
        ("file,row,text,fix\na.csv,three,x,dog\n", "expected a whole number"),
    ],
)
def test_a_file_that_is_no_review(tmp_path, data, content, told):
    review = tmp_path / "r.csv"
    review.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        write_fixed(review, data[0].splits, data[0].task, tmp_path / "fixed")
    with pytest.raises(InputError, match="cannot be read"):
        write_fixed(tmp_path / "absent.csv", data[0].splits, data[0].task, tmp_path / "fixed")


def test_two_fixes_of_a_row_that_differ_are_refused(tmp_path, data):
    found, file = data
    review = tmp_path / "r.csv"
    line = f'{file},2,"\'{ROWS[0][0]}",'
    review.write_text(f"file,row,text,fix\n{line}dog\n{line}{REMOVE}\n", encoding="utf-8")
    with pytest.raises(InputError, match="differently"):
        write_fixed(review, found.splits, found.task, tmp_path / "fixed")


def test_several_labels_are_fixed(tmp_path):
    path = tmp_path / "m.csv"
    rows = [(f"text {number}", ("a", "b", "a,b")[number % 3]) for number in range(90)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "labels"), *rows])
    found = inspect_rows(TaskSpec(kind="multilabel"), DataSpec(train=str(path)))
    review = tmp_path / "r.csv"
    review.write_text(f'file,row,text,fix\n{path},2,text 0,"b, a"\n{path},3,text 1,{NO_LABEL}\n', encoding="utf-8")
    fixed = write_fixed(review, found.splits, found.task, tmp_path / "fixed")
    lines = [json.loads(line) for line in open(fixed.files["train"], encoding="utf-8")]  # noqa: SIM115, PTH123
    assert [line["labels"] for line in lines[:3]] == [["b", "a"], [], ["a", "b"]]


def test_fixes_need_rows_of_one_text(tmp_path, data):
    class Other(Classification):
        columns = (*Classification.columns, Column("other", ("other",), "names", "truth"))

    found, file = data
    review = filled(tmp_path, file, {2: "dog"})
    with pytest.raises(InputError, match="rows of texts and a label"):
        write_fixed(review, found.splits, Other(["cat", "dog"]), tmp_path / "fixed")
    assert not (tmp_path / "fixed").exists()


def test_pairs_are_fixed_with_both_texts(tmp_path):
    path = tmp_path / "p.csv"
    rows = [(f"where is parcel {number}", f"it left, number {number}", "yn"[number % 2]) for number in range(60)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("question", "reply", "answers"), *rows])
    columns = {"text_a": "question", "text_b": "reply"}
    spec = TaskSpec(kind="pairs", label="answers", columns=columns)
    found = inspect_rows(spec, DataSpec(train=str(path)))
    review = tmp_path / "review.csv"
    write_review(
        report(suspect(str(path), 2, Pairs.identity({"text_a": [rows[0][0]], "text_b": [rows[0][1]]})[0])), review
    )
    with review.open(newline="", encoding="utf-8-sig") as stream:
        [line] = csv.DictReader(stream)
    with review.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(line))
        writer.writeheader()
        writer.writerow(line | {"fix": "n"})
    fixed = write_fixed(review, found.splits, found.task, tmp_path / "fixed")
    assert fixed.relabelled == 1
    first = json.loads((tmp_path / "fixed" / "train.jsonl").read_text("utf-8").splitlines()[0])
    assert first == {"question": rows[0][0], "reply": rows[0][1], "answers": "n"}
    assert inspect_rows(spec, DataSpec(train=fixed.files["train"])).card.errors == []
