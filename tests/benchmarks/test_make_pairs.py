import random

from benchmarks.make_pairs import index, pairs


def rows() -> list[dict[str, str]]:
    sentences = [f"the mayor of town {n} opened the bridge over river {n}" for n in range(6)]
    return [
        {"title": f"document {n // 3}", "context": sentence, "question": f"who opened the bridge in town {n}?"}
        for n, sentence in enumerate(sentences)
    ]


def test_a_question_has_its_own_sentence_and_another_of_its_document():
    made = pairs(rows(), 6, 0.0, random.Random(0))
    assert len(made) == 12
    own = {row["question"]: row for row in rows()}
    for question, sentence, label in made:
        assert (sentence == own[question]["context"]) == (label == "yes")
        assert sentence in index(rows()).of[own[question]["title"]]
    assert {label for _, _, label in made} == {"yes", "no"}


def test_questions_whose_other_sentences_share_too_few_words_are_left_out():
    zebra = {
        "title": "document 0",
        "context": "a zebra is dancing in the old zoo",
        "question": "where is the zebra dancing?",
    }
    every = [*rows(), zebra]
    assert any("zebra" in question for question, _, _ in pairs(every, 99, 0.0, random.Random(0)))
    assert not any("zebra" in question for question, _, _ in pairs(every, 99, 0.5, random.Random(0)))
    assert len(pairs(every, 2, 0.0, random.Random(0))) == 4, "as many questions as asked for"
    assert pairs([zebra], 9, 0.0, random.Random(0)) == [], "a document of one sentence has no other"
