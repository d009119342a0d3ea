import numpy as np
import pytest

from lft_ray.tasks.questions.panels import length_group, question_word, score_panel
from lft_ray.tasks.questions.truth import truth_array


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("In what year?", "what"),
        ("How  many people?", "how many"),
        ("How did it end?", "how"),
        ("Whose hat is it, and who knows?", "whose"),
        ("Somewhat late?", "other"),
        ("Wo?", "other"),
    ],
)
def test_question_words(question, word):
    assert question_word({"question": question}) == word


@pytest.mark.parametrize(
    ("answers", "group"), [([], "no answer"), (["a"], "1 word"), (["b c d e", "f"], "4 to 8 words")]
)
def test_answers_are_grouped_by_their_length(answers, group):
    assert length_group({"answers": answers}) == group


def test_a_panel_has_the_mean_scores_of_each_group():
    truth = truth_array(["who?", "what?", "who else?"], ["a b"] * 3, [[("a", 0)]] * 3)
    scores = np.array([[1.0, 1.0], [0.5, 0.0], [0.0, 0.0]], np.float32)
    panel = score_panel("Words", "", truth, scores, question_word)
    assert panel.rows == [["what", 0.5, 0.0, 1], ["who", 0.5, 0.5, 2]]
