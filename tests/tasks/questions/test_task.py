import numpy as np
import pytest
import torch

from lft_ray.errors import ConfigError, DataError
from lft_ray.tasks.base import AnsweringTask, LabelTask, Task
from lft_ray.tasks.facts import LabelFacts
from lft_ray.tasks.find import find_task, make_task
from lft_ray.tasks.questions.layout import row_of
from lft_ray.tasks.questions.task import QuestionFacts, Questions
from lft_ray.wire import SpanAnswer

CONTEXT = "In 1901 the bridge of Lund was opened by Ada."
VALUES = {
    "question": ["Who opened the bridge?", "When?", "How wide is it?"],
    "context": [CONTEXT] * 3,
    "answers": [[("Ada", 41)], [("1901", 3), ("In 1901", 0)], []],
}


def task(*, has_none=True):
    return Questions(QuestionFacts(has_none=has_none, by_character=False, longest_tokens=30))


def outputs(*rows):
    """Rows with spans, each (start, end, score), a total that they sum to, and a score of no answer of 0."""
    made = []
    for spans in rows:
        total = float(np.log(np.exp([score for *_, score in spans]).sum())) if spans else -50.0
        made.append(row_of(np.array(spans, np.float64).reshape(-1, 3), total, 0.0))
    return np.stack(made)


RIGHT = outputs([(41, 44, 5.0)], [(3, 7, 4.0), (0, 7, 3.0)], [(0, 2, -4.0)])


def test_it_is_found_and_made_from_its_facts():
    found = find_task("question_answering")
    facts = found.learn(VALUES)
    assert facts == QuestionFacts(has_none=True, by_character=False, longest_tokens=30)
    made = make_task("question_answering", facts.model_dump(mode="json"))
    assert isinstance(made, Questions)
    assert isinstance(made, AnsweringTask)
    assert not isinstance(made, LabelTask)
    with pytest.raises(ConfigError, match="facts of task"):
        make_task("question_answering", {"labels": ["a"]})
    with pytest.raises(TypeError, match="QuestionFacts"):
        Questions.of(LabelFacts(labels=["a"]))


def test_it_has_every_member_of_a_task():
    missing = [name for name in vars(Task) if not name.startswith("_") and not hasattr(Questions, name)]
    assert missing == ["distill_loss"]


def test_chinese_answers_are_counted_by_letters():
    learned = Questions.learn(VALUES | {"answers": [[("北京大学" * 10, None)], [("上海", None)], [("人", None)]]})
    assert learned == QuestionFacts(has_none=False, by_character=True, longest_tokens=40)


def test_right_answers_score_one():
    truth = task().encode(VALUES)
    assert task().metrics(truth, RIGHT) == {"f1": 1.0, "exact_match": 1.0}
    assert task().answers(RIGHT).tolist() == [[41, 44], [3, 7], [-1, -1]]


def test_a_wrong_answer_counts_by_its_words():
    truth = task().encode(VALUES)
    wrong = outputs([(38, 44, 5.0)], [(0, 2, 4.0)], [(0, 2, 4.0)])
    assert task().metrics(truth, wrong) == pytest.approx({"f1": (2 / 3 + 2 / 3 + 0) / 3, "exact_match": 0.0})


def test_weighted_metrics_are_means_of_rows():
    truth = task().encode(VALUES)
    scores = task().row_scores(truth, task().answers(outputs([(38, 44, 5.0)], [(3, 7, 4.0)], [])))
    weights = np.array([[1, 1, 1], [3, 0, 0]], np.float32)
    assert task().weighted_metric("f1", [scores])(weights)[:, 0] == pytest.approx([(2 / 3 + 2) / 3, 2 / 3])
    assert task().weighted_metric("exact_match", [scores])(weights)[:, 0] == pytest.approx([2 / 3, 0])
    with pytest.raises(ValueError, match="macro_f1"):
        task().weighted_metric("macro_f1", [scores])


def test_without_questions_that_have_no_answer_none_is_given():
    assert task(has_none=False).answers(outputs([(0, 2, -9.0)])).tolist() == [[0, 2]]


def test_predictions_are_cut_from_the_context():
    inputs = [(question, CONTEXT) for question in VALUES["question"]]
    found = task().predictions(RIGHT, inputs)
    assert [[one.answer for one in answers] for answers in found] == [["Ada"], ["1901"], [""]]
    best = found[1][0]
    assert isinstance(best, SpanAnswer)
    assert (best.start, best.end, CONTEXT[best.start : best.end]) == (3, 7, "1901")
    assert 0.5 < best.score < 1
    more = task().predictions(RIGHT, inputs, top_k=3)[1]
    assert [one.answer for one in more] == ["1901", "In 1901", ""]
    assert [one.score for one in more] == sorted((one.score for one in more), reverse=True)
    assert sum(one.score for one in more) == pytest.approx(1.0, abs=1e-5)


def test_a_row_without_any_candidate_is_an_empty_answer():
    [[only]] = task(has_none=False).predictions(outputs([]), [("Who?", "")])
    assert (only.answer, only.start, only.end, only.score) == ("", 0, 0, 0.0)


def test_predictions_of_a_file():
    inputs = [(question, CONTEXT) for question in VALUES["question"]]
    table = task().answer_table(RIGHT, np.array([False, True, False]), inputs)
    assert table.column_names == ["answer", "start", "end", "score"]
    assert table["answer"].to_pylist() == ["Ada", None, ""]
    assert table["end"].to_pylist() == [44, None, 0]


def test_the_kinds_of_predictions():
    made = task()
    kinds = [
        made.bucket([SpanAnswer(answer=text, start=0, end=len(text), score=1.0)]) for text in ("", "Ada", "a b c d")
    ]
    assert kinds == ["no answer", "1 to 3 words", "more words"]


def test_the_loss_is_that_of_the_positions():
    made, generator = task(), torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 2, generator=generator)
    targets = torch.tensor([[2, 4], [0, 0], [-1, -1]])
    expected = sum(
        torch.nn.functional.cross_entropy(logits[row, :, side][None], targets[row, side][None]) / 2
        for row in (0, 1)
        for side in (0, 1)
    )
    assert made.loss(logits, targets, None) == pytest.approx(float(expected))
    assert made.units(targets.numpy(), None) == 2


def test_the_judged_loss_is_smaller_for_better_answers():
    truth = task().encode(VALUES)
    sure = task().judged_loss(truth, RIGHT)
    unsure = task().judged_loss(truth, outputs([(41, 44, 0.5)], [(3, 7, 0.5)], [(0, 2, -0.5)]))
    wrong = task().judged_loss(truth, outputs([(0, 2, 5.0)], [(8, 11, 5.0)], [(0, 2, 5.0)]))
    assert 0 < sure < unsure < wrong


def test_two_predictions_are_compared_by_their_place():
    made = task()
    other = RIGHT.copy()
    other[1, 0] = 0
    assert made.same(made.answers(RIGHT), made.answers(other)).tolist() == [True, False, True]
    assert made.score_change(RIGHT, RIGHT).max() == 0


def test_an_answer_at_another_place_is_a_change_even_if_it_is_as_probable():
    ours, theirs = outputs([(41, 44, 5.0)], [(3, 7, 4.0)]), outputs([(42, 45, 5.0)], [(3, 7, 4.0)])
    assert task(has_none=False).score_change(ours, theirs).tolist() == pytest.approx([1.0, 0.0], abs=1e-6)
    assert task(has_none=False).score_change(theirs, ours).tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


def test_two_nearly_equal_answers_that_change_places_are_no_change():
    ours, theirs = outputs([(0, 7, 4.0001), (3, 7, 4.0)]), outputs([(3, 7, 4.0001), (0, 7, 4.0)])
    assert 0 < task().score_change(ours, theirs)[0] < 1e-4
    # Of six equal ones each has another five.
    equal = [(start, start + 2, 4.0 + start * 1e-5) for start in range(6)]
    assert task().score_change(outputs(equal[:5]), outputs(equal[1:]))[0] < 1e-4


def test_no_answer_is_compared_too():
    ours, theirs = outputs([(0, 2, -1.0)]), outputs([(0, 2, 1.0)])
    expected = 1 / (1 + np.exp(-1.0)) - 1 / (1 + np.exp(1.0))
    assert task().score_change(ours, theirs)[0] == pytest.approx(expected, abs=1e-6)
    # An answer that only one of them finds.
    assert task().score_change(outputs([]), outputs([(0, 2, 9.0)]))[0] > 0.99


def test_there_are_no_classes_to_weigh():
    with pytest.raises(DataError, match="no classes"):
        task().class_weights(np.zeros((1, 2), np.int64))


def test_strata_and_counts():
    assert Questions.counts(VALUES) == {"answered": 2, "without an answer": 1}
    assert task().strata(VALUES) == ["answered", "answered", "without an answer"]
    assert task().row_strata(task().encode(VALUES)).tolist() == [1, 1, 0]
    assert [panel.title for panel in task().panels(task().encode(VALUES), task().answers(RIGHT))] == [
        "Question words",
        "Answers",
    ]
