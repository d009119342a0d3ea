import json

import pytest

from lft_ray.data.choose import choose
from lft_ray.data.choose_questions import question_columns, share_in_context
from lft_ray.data.readers.preview import preview
from lft_ray.errors import InputError
from tests.tasks.questions.corpus import rows


def columns(made):
    return {name: [row[name] for row in made] for name in made[0]}


def test_questions_are_recognised_by_names_and_by_what_they_hold():
    expected = {"question": "question", "context": "context", "answers": "answers"}
    assert question_columns(columns(rows(60))) == expected
    renamed = [{"Passage": r["context"], "Query": r["question"], "answer": r["answers"][0]["text"]} for r in rows(60)]
    assert question_columns(columns(renamed)) == {"question": "Query", "context": "Passage", "answers": "answer"}


def test_answers_in_other_words_are_none():
    made = rows(60)
    for row in made:
        row["answers"] = ["yes"]
    assert question_columns(columns(made)) is None
    for row in made:
        row["answers"] = 3
    assert question_columns(columns(made)) is None
    assert question_columns({"question": ["a"], "context": ["b"]}) is None


def test_a_label_of_one_letter_is_no_answer():
    assert share_in_context(["a b", "c d"], ["a", "d"]) == 0
    assert share_in_context(["a b"], [""]) is None


@pytest.mark.parametrize("kind", [None, "question_answering"])
def test_init_chooses_them(tmp_path, kind):
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows(60))))
    chosen = choose(preview(path), kind=kind)
    assert (chosen.kind, chosen.text, chosen.pair) == ("question_answering", None, None)
    assert chosen.columns == ("question", "context", "answers")
    assert "pieces of the context" in chosen.told[0]


def test_asked_for_and_not_there_is_told(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("text,label\n" + "a long text here,x\n" * 30)
    with pytest.raises(InputError, match="no question, context and answers"):
        choose(preview(path), kind="question_answering")


def test_the_json_of_squad_is_seen_as_rows(tmp_path):
    paragraphs = [
        {"context": row["context"], "qas": [{"id": str(n), "question": row["question"], "answers": row["answers"]}]}
        for n, row in enumerate(rows(60))
    ]
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}))
    assert choose(preview(path)).kind == "question_answering"
    assert preview(path).rows == 60
