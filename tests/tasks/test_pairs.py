"""Pairs of texts as a task: its columns, identity, and what the data check says of them."""

import pytest

from lft_ray.config import DataSpec, TaskSpec
from lft_ray.data.prepare import inspect, prepare
from lft_ray.data.store import load_split
from lft_ray.errors import DataError
from lft_ray.run.storage import Storage
from lft_ray.tasks.columns import input_columns
from lft_ray.tasks.pairs import Pairs

SPLIT = {"validation": 0.2, "test": 0.2}


def row(number: int) -> tuple[str, str, str]:
    return f"where is parcel {number}", f"it left depot {number}", "yn"[number % 2]


def write(path, rows, header="text_a,text_b,label") -> str:
    path.write_text(header + "\n" + "".join(",".join(f'"{cell}"' for cell in one) + "\n" for one in rows))
    return str(path)


def problems(train: str, **more):
    card = inspect(TaskSpec(kind="pairs"), DataSpec(train=train, **more))
    return {problem.code: problem for problem in card.problems}


def test_a_model_sees_both_texts_and_is_judged_by_the_label():
    assert [column.role for column in input_columns(Pairs.columns)] == ["text_a", "text_b"]
    texts = {"text_a": ["a", "a b"], "text_b": ["b c", "c"]}
    one, other = Pairs.identity(texts)
    assert one != other, "the same words on other sides are another pair"


@pytest.mark.parametrize(
    "header",
    ["text_a,text_b,label", "premise,hypothesis,gold_label", "question1,question2,label", "query,passage,label"],
)
def test_usual_names_are_found(tmp_path, header):
    card = inspect(TaskSpec(kind="pairs"), DataSpec(train=write(tmp_path / "a.csv", map(row, range(60)), header)))
    assert list(card.columns.values()) == header.split(",")
    assert not card.errors


def test_a_split_holds_tuples(tmp_path):
    data = DataSpec(train=write(tmp_path / "a.csv", map(row, range(60))))
    record = prepare(TaskSpec(kind="pairs"), data, Storage(tmp_path / "run"))
    split = load_split(record, "validation")
    assert all(isinstance(text, tuple) and len(text) == 2 for text in split.texts)
    assert all(isinstance(text, tuple) for text in record.sample_texts)


def test_clean_pairs_have_no_findings_of_their_own(tmp_path):
    assert not {"equal_texts", "swapped_pairs"} & problems(write(tmp_path / "a.csv", map(row, range(60)))).keys()


def test_pairs_of_two_equal_texts_are_told_with_their_labels(tmp_path):
    rows = [*map(row, range(60)), ("Same  text", "same text", "y"), ("so", "SO", "n")]
    found = problems(write(tmp_path / "a.csv", rows))["equal_texts"]
    assert (found.severity, found.count, found.row) == ("warning", 2, 62)
    assert "3.2%" in found.message
    assert "'y' 1" in found.message


def test_one_column_twice_is_an_error(tmp_path):
    train = write(tmp_path / "a.csv", [(row(n)[0], row(n)[0], row(n)[2]) for n in range(60)])
    with pytest.raises(DataError, match="both texts are equal in all 60 pairs") as caught:
        prepare(TaskSpec(kind="pairs"), DataSpec(train=train), Storage(tmp_path / "run"))
    assert "--set task.columns.text_a=NAME" in str(caught.value.fix)
    # The same column under two roles is refused where it is read.
    both = TaskSpec(kind="pairs", columns={"text_a": "text_a", "text_b": "text_a"})
    assert [one.code for one in inspect(both, DataSpec(train=train)).errors] == ["same_column"]


def test_a_pair_the_other_way_round_with_another_label_is_told(tmp_path):
    swapped = [(two, one, "y" if label == "n" else "n") for one, two, label in map(row, (4, 7))]
    agreeing = [(two, one, label) for one, two, label in map(row, (9, 10))]
    found = problems(write(tmp_path / "a.csv", [*map(row, range(60)), *swapped, *agreeing]))["swapped_pairs"]
    assert (found.severity, found.count, found.row) == ("warning", 2, 62)
    assert "in row 6" in found.message


def test_a_pair_without_one_of_its_texts_is_dropped_by_its_side(tmp_path):
    rows = [*map(row, range(60)), ("where is it", " ", "y"), ("", "here", "n"), ("gone", "", "n")]
    card = inspect(TaskSpec(kind="pairs"), DataSpec(train=write(tmp_path / "a.csv", rows)))
    told = [problem.message for problem in card.problems if problem.code == "empty_text"]
    assert [message.split(":")[0] for message in told] == ["empty text_as in train", "empty text_bs in train"]
    assert card.dropped["train"] == 3


def test_pairs_of_a_given_split_are_checked_and_may_not_be_those_of_train(tmp_path):
    train = write(tmp_path / "a.csv", map(row, range(60)))
    other = [(f"what is number {n}", f"it is {n}", "yn"[n % 2]) for n in range(40)]
    leaking = write(tmp_path / "b.csv", [*other, row(3), row(4), ("eq", "eq", "y")])
    found = problems(train, validation=leaking)
    assert "texts of validation that also occur in train: 2" in found["overlap"].message
    assert "of two equal texts in validation: 1" in found["equal_texts"].message
    # One text alone in common is no overlap: a question may be asked of several texts.
    shared = write(tmp_path / "c.csv", [(row(n)[0], f"another {n}", "yn"[n % 2]) for n in range(40)])
    assert "overlap" not in problems(train, validation=shared)
