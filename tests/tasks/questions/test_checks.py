import json
from pathlib import Path

import pytest

from lft_ray.config import DataSpec, TaskSpec
from lft_ray.data.prepare import inspect
from tests.tasks.questions.corpus import rows

KIND = "question_answering"


def problems(tmp_path: Path, made):
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, made)))
    card = inspect(TaskSpec(kind=KIND), DataSpec(train=str(path)))
    return {problem.code: problem for problem in card.problems}, card


def test_good_rows_have_no_problem(tmp_path):
    found, card = problems(tmp_path, rows(90))
    assert not found
    assert card.columns == {"question": "question", "context": "context", "answers": "answers"}


def test_too_few_rows_are_an_error(tmp_path):
    found, _ = problems(tmp_path, rows(30))
    assert (found["too_few_rows"].severity, "30 questions" in found["too_few_rows"].message) == ("error", True)


def test_few_answers_that_are_not_in_their_context_are_told(tmp_path):
    made = rows(90)
    made[4]["answers"] = [{"text": "Nobody at all", "answer_start": 3}]
    made[5]["answers"].append({"text": "not there", "answer_start": 3})
    found, _ = problems(tmp_path, made)
    assert found["answer_not_in_context"].severity == "warning"


def test_many_are_an_error_that_lists_rows(tmp_path):
    made = rows(90)
    for number in range(0, 90, 5):
        made[number]["answers"] = [{"text": "elsewhere"}]
    found, card = problems(tmp_path, made)
    assert found["answer_not_in_context"].severity == "error"
    assert [problem.row for problem in card.errors if problem.row] == [1, 6, 11]


def test_a_place_that_lies_is_mended_and_told(tmp_path):
    made = rows(90)
    made[7]["answers"][0]["answer_start"] += 2
    found, _ = problems(tmp_path, made)
    assert (found["answer_offset"].severity, found["answer_offset"].row) == ("warning", 8)


def test_a_blank_answer_is_an_error(tmp_path):
    made = rows(90)
    made[2]["answers"] = [{"text": " \u200b", "answer_start": 0}]
    found, _ = problems(tmp_path, made)
    assert (found["empty_answer"].severity, found["empty_answer"].row) == ("error", 3)


def test_questions_without_an_answer_are_counted(tmp_path):
    found, card = problems(tmp_path, rows(90, without_answer=9))
    assert "10 (11.1%)" in found["no_answer"].message
    assert sum(card.label_counts["train"].values()) == card.rows["train"]


def test_a_question_with_two_answers_is_told(tmp_path):
    made = rows(90)
    again = json.loads(json.dumps(made[3]))
    again["answers"] = [{"text": "guests", "answer_start": again["context"].index("guests")}]
    found, card = problems(tmp_path, [*made, again])
    assert found["conflicting_answers"].row == 91
    assert card.conflicts == 1


@pytest.mark.parametrize(
    "value", [7, [3], {"start": 1}, {"text": ["a"], "answer_start": [1, 2]}, {"text": "a", "start": "x"}]
)
def test_answers_of_another_shape_are_named(tmp_path, value):
    made = rows(90)
    made[1]["answers"] = value
    found, _ = problems(tmp_path, made)
    assert (found["answer_type"].severity, found["answer_type"].row) == ("error", 2)
    assert "answers" in found["answer_type"].message
