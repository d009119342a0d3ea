"""Columns by what they hold; names decide only between columns that could both be it."""

from pathlib import Path

import pytest

from lft_ray.data.choose import choose
from lft_ray.data.readers.preview import Preview
from lft_ray.errors import InputError

N = 120
WORDS = [f"the parcel number {i} never came" for i in range(N)]
LONG = [words * 9 for words in WORDS]
IDS = [f"id{i:05}" for i in range(N)]
TOPICS = ["billing", "login", "other"] * (N // 3)


def found(**columns):
    return Preview(Path("x.csv"), "utf-8", "", columns, N)


@pytest.mark.parametrize(
    "columns",
    [
        {"a": WORDS, "b": TOPICS},
        {"ticket": IDS, "b": TOPICS, "a": WORDS},
        {"a": WORDS, "b": TOPICS, "split": ["train", "test"] * 60},
        {"a": WORDS, "b": TOPICS, "price": [f"{i}.50" for i in range(N)], "day": ["2024-01-02", "2024-02-03"] * 60},
        {"a": WORDS, "b": [1, 2, 3] * 40, "year": list(range(1900, 1900 + N))},
        {"a": [f"包裹没有到达{i}" for i in range(N)], "b": TOPICS},
        {"a": [chr(97 + i % 26) * (1 + i // 26) + "ski" for i in range(N)], "b": ["polish", "czech"] * 60},
        {"label": IDS, "a": WORDS, "b": TOPICS},
    ],
)
def test_content_decides(columns):
    chosen = choose(found(**columns))
    assert (chosen.text, chosen.label, chosen.kind) == ("a", "b", "classification")


def test_names_decide_between_equals_and_it_is_said():
    chosen = choose(found(note=WORDS, text=WORDS, source=["web", "mail"] * 60, label=TOPICS))
    assert (chosen.text, chosen.label) == ("text", "label")
    assert "--text chooses another" in chosen.told[0]
    assert "'source'" in chosen.told[1]


@pytest.mark.parametrize(
    ("columns", "option", "names"),
    [
        ({"summary": WORDS, "details": WORDS, "b": TOPICS}, "--text", ("summary", "details")),
        ({"title": [f"late one {i}" for i in range(N)], "story": LONG, "b": TOPICS}, "--text", ("title", "story")),
        ({"a": WORDS, "team": TOPICS, "city": ["Bonn", "Ulm"] * 60}, "--label", ("team", "city")),
        ({"a": WORDS, "topic": TOPICS, "sentiment": ["good", "bad"] * 60}, "--label", ("topic", "sentiment")),
        ({"a": WORDS, "b": IDS}, "--label", ("b",)),
    ],
)
def test_what_is_ambiguous_is_asked_with_its_candidates(columns, option, names):
    with pytest.raises(InputError) as caught:
        choose(found(**columns))
    assert option in (caught.value.fix or "")
    assert all(repr(name) in caught.value.message for name in names)
    first = names[0]
    keys = {"text": first} if option == "--text" else {"label": first}
    assert getattr(choose(found(**columns), **keys), option[2:]) == first


def test_columns_that_say_the_same_are_one():
    ids = [("billing", "login", "other").index(topic) for topic in TOPICS]
    assert choose(found(a=WORDS, topic_id=ids, topic_words=TOPICS)).label == "topic_words"


@pytest.mark.parametrize(
    "labels",
    [
        [["a"], ["a", "b"], []] * 40,
        ["red", "blue", "red,blue", "green", "green,blue", "red,green"] * 20,
        ["['red']", "['red', 'blue']", "['green']"] * 40,
    ],
)
def test_several_labels_are_seen(labels):
    assert choose(found(a=WORDS, b=labels)).kind == "multilabel"
    assert choose(found(a=WORDS, b=labels), kind="classification").kind == "classification"


def test_a_missing_header_is_named():
    with pytest.raises(InputError, match="header is missing"):
        choose(found(**{WORDS[0]: WORDS[1:], "billing": TOPICS[1:]}))


def test_a_name_that_is_none_is_told_with_the_nearest():
    with pytest.raises(InputError, match="no column 'txet'"):
        choose(found(text=WORDS, label=TOPICS), text="txet")
    assert choose(found(Text=WORDS, label=TOPICS), text="text").text == "Text"


# ---------------------------------------------------------------- pairs of texts

YES_NO = ["yes", "no"] * (N // 2)
REPLIES = [f"the courier has it since day {i}" for i in range(N)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("text_a", "text_b"), ("text1", "text2"), ("sentence1", "sentence2"), ("Sentence_A", "Sentence_B"),
        ("premise", "hypothesis"), ("question1", "question2"), ("tweet.1", "tweet.2"), ("question", "sentence"),
        ("query", "passage"), ("question", "answer"), ("text", "text_pair"),
    ],
)  # fmt: skip
def test_two_columns_with_names_of_a_pair_are_one(first, second):
    chosen = choose(found(id=IDS, **{second: REPLIES, "label": YES_NO, first: WORDS}))
    assert (chosen.kind, chosen.pair, chosen.label, chosen.text) == ("pairs", (first, second), "label", None)
    assert "--text chooses one of them alone" in chosen.told[0]
    alone = choose(found(**{second: REPLIES, "label": YES_NO, first: WORDS}), text=first)
    assert (alone.kind, alone.pair, alone.text) == ("classification", None, first)


def test_a_question_that_comes_back_with_each_of_its_answers_is_half_of_a_pair():
    chosen = choose(found(question=[f"where is parcel number {i // 20}" for i in range(N)], passage=WORDS, y=YES_NO))
    assert chosen.pair == ("question", "passage")


@pytest.mark.parametrize(
    "columns",
    [
        {"title": WORDS, "body": LONG, "label": YES_NO},
        {"text": WORDS, "comment": REPLIES, "label": YES_NO},
        {"question": WORDS, "answer": REPLIES, "topic": [f"t{i % 8}" for i in range(N)]},
        {"text": WORDS, "data": REPLIES, "datb": REPLIES, "label": YES_NO},
        {"text": WORDS, "note1": REPLIES, "note2": REPLIES, "note3": REPLIES, "label": YES_NO},
    ],
)
def test_a_remark_beside_a_text_makes_no_pair(columns):
    chosen = choose(found(**columns))
    assert (chosen.kind, chosen.pair) == ("classification", None)


def test_pairs_that_are_asked_for_need_no_names():
    asked = choose(found(before=WORDS, after=REPLIES, same=YES_NO), kind="pairs")
    assert asked.pair == ("before", "after")
    named = choose(found(before=WORDS, after=REPLIES, note=LONG, same=YES_NO), pair=("After", "before"))
    assert (named.kind, named.pair) == ("pairs", ("after", "before"))
    for columns, told in (
        ({"before": WORDS, "after": REPLIES, "note": LONG, "same": YES_NO}, "several columns hold text"),
        ({"before": WORDS, "same": YES_NO}, "fewer than two columns"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            choose(found(**columns), kind="pairs")
        assert "--text-a and --text-b" in caught.value.fix
    for pair, told in ((("before", "before"), "are one column"), (("before", "gone"), "has no column 'gone'")):
        with pytest.raises(InputError, match=told):
            choose(found(before=WORDS, after=REPLIES, same=YES_NO), pair=pair)
