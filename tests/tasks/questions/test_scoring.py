import pytest

from lft_ray.tasks.questions.scoring import exact_and_f1, is_written_without_blanks, normalised, words_of


def test_case_punctuation_articles_and_blanks_do_not_count():
    assert normalised('  The "Denver  Broncos"! ') == "denver broncos"
    assert normalised("a.k.a. an-other") == "aka another"
    assert normalised("Theatre") == "theatre"


@pytest.mark.parametrize(
    ("predicted", "answers", "expected"),
    [
        ("the Denver Broncos", ["Denver Broncos"], (1, 1)),
        ("Broncos", ["Denver Broncos", "Carolina"], (0, 2 / 3)),
        ("in in 1990", ["in 1990"], (0, 4 / 5)),
        ("1990", ["2000"], (0, 0)),
        ("", ["2000"], (0, 0)),
        # Nothing is left of either: exact, while the words have nothing in common.
        ("the", ["a"], (1, 0)),
        (None, ["the"], (1, 0)),
    ],
)
def test_scores_where_every_question_has_an_answer(predicted, answers, expected):
    assert exact_and_f1(predicted, answers, has_none=False) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("predicted", "answers", "expected"),
    [
        (None, [], (1, 1)),
        ("anything", [], (0, 0)),
        ("the", [], (1, 1)),
        (None, ["1990"], (0, 0)),
        # A true answer of which nothing is left is none.
        (None, ["the"], (1, 1)),
        ("Broncos", ["Denver Broncos"], (0, 2 / 3)),
    ],
)
def test_scores_where_some_questions_have_none(predicted, answers, expected):
    assert exact_and_f1(predicted, answers, has_none=True) == pytest.approx(expected)


def test_letters_are_words_in_scripts_without_blanks():
    assert words_of("北京大学", by_character=True) == ["北", "京", "大", "学"]
    assert words_of("in 北京", by_character=True) == ["in", "北", "京"]
    assert words_of("北京大学") == ["北京大学"]
    assert exact_and_f1("北京", ["北京大学"], has_none=False, by_character=True) == pytest.approx((0, 2 / 3))


def test_the_script_of_answers_is_recognised():
    assert is_written_without_blanks(["北京", "上海", "in 1990"])
    assert not is_written_without_blanks(["Beijing (北京)", "Shanghai"])
    assert not is_written_without_blanks(["1990", ""])
