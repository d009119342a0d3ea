"""Questions with contexts as windows: nothing is lost, and every token knows its characters."""

import random
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft_ray.models.passages import MAX_WINDOWS, PassageTokenizer, window_starts
from lft_ray.models.spans import best_spans
from lft_ray.models.tokens import Truncated, Unread, open_tokenizer
from lft_ray.tasks.questions.layout import candidates_of, merged

QUESTION = "who won the match"
CONTEXT = "The team won, and the bank raised its interest rate. " * 6


@pytest.fixture(params=["tiny_bert", "tiny_gpt"])
def tokenizer(request):
    return PassageTokenizer(open_tokenizer(request.getfixturevalue(request.param)))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 400))
def test_windows_cover_a_context_and_overlap(tokens, part):
    starts = window_starts(tokens, part)
    covered = np.zeros(tokens, int)
    for start in starts:
        covered[start : start + part] += 1
    if len(starts) < MAX_WINDOWS:
        assert (covered >= 1).all()
    assert all(b - a == part - min(128, part // 2) for a, b in pairwise(starts))
    assert len(starts) == 1 or starts[-2] + part < tokens


@pytest.mark.parametrize("max_length", [24, 40, 400])
def test_each_window_has_the_question_and_its_part(tokenizer, max_length):
    [passage] = tokenizer.passages([(QUESTION, CONTEXT)], max_length)
    [question] = tokenizer.questions([QUESTION])
    [context] = tokenizer.contexts([CONTEXT], max_length)
    read = []
    for window in passage.windows:
        assert len(window) == len(window.types) <= max_length
        start = len(tokenizer.template.before)
        assert list(window[start : start + len(question)]) == question
        at = window.part.first
        read.append((window.part.starts[0], list(window[at : at + len(window.part.starts)])))
    assert len(passage) == sum(map(len, passage.windows))
    assert read[0][1] == list(context.ids[: len(read[0][1])])
    assert passage.windows[-1].part.ends[-1] == context.places[-1, 1]
    assert not isinstance(passage, Truncated)
    assert len(passage.windows) == (1 if max_length == 400 else len(passage.windows)) >= 1


def test_one_window_is_what_the_tokenizer_makes_of_the_pair(tiny_bert):
    plain = open_tokenizer(tiny_bert)
    expected = plain.encode(QUESTION, CONTEXT)
    [passage] = PassageTokenizer(plain).passages([(QUESTION, CONTEXT)], 500)
    [window] = passage.windows
    assert (list(window), window.types) == (expected.ids, expected.type_ids)


def test_tokens_reach_to_the_ends_of_their_word(tiny_bert):
    text = "unbelievable, 1990s: 北京大学 x"
    [context] = PassageTokenizer(open_tokenizer(tiny_bert)).contexts([text], 64)
    words = {text[start:end] for start, end in context.places.tolist()}
    assert {"unbelievable", "1990s", "x"} <= words
    assert not any(len(word) > 1 and "北" in word for word in words)


def test_blanks_before_a_word_are_not_part_of_it(tiny_gpt):
    [context] = PassageTokenizer(open_tokenizer(tiny_gpt)).contexts(["one  two\n three"], 64)
    assert not any(text.strip() != text for text in ("one  two\n three"[a:b] for a, b in context.places.tolist()))


def test_a_question_that_fills_the_window_is_cut(tokenizer):
    [passage] = tokenizer.passages([(QUESTION * 50, CONTEXT)], 32)
    assert isinstance(passage, Truncated)
    assert all(len(window) <= 32 for window in passage.windows)
    assert all(len(window.part.starts) for window in passage.windows)


def test_an_endless_context_is_cut_and_said_to_be(tokenizer):
    [passage] = tokenizer.passages([(QUESTION, CONTEXT * 400)], 32)
    assert isinstance(passage, Truncated)
    assert len(passage.windows) == MAX_WINDOWS


@pytest.mark.parametrize("context", ["", " ", "\u200b"])
def test_a_context_without_tokens_is_unread(tiny_bert, context):
    [passage] = PassageTokenizer(open_tokenizer(tiny_bert)).passages([(QUESTION, context)], 32)
    assert isinstance(passage, Unread)
    assert len(passage.windows) == 1


@pytest.mark.parametrize(("base", "count"), [("tiny_bert", 10_000), ("tiny_gpt", 2_000)])
def test_an_answer_of_any_context_is_a_slice_of_it(base, count, request):
    """Contexts of characters of all kinds: combining, right to left, astral, surrogate halves, NUL."""
    tokenizer = PassageTokenizer(open_tokenizer(request.getfixturevalue(base)))
    generator, rng = random.Random(0), np.random.default_rng(0)
    letters = (
        "aé\u0301ẞß İıﬁ\u200d👩🏽\u05d0\u0627ก็北京。 ,.\n\t\0\ud83d\U0001d518\u1e9b\u0323 the team won bank "
        + unicodedata.normalize("NFD", "Ångström")
    )
    contexts = ["".join(generator.choices(letters, k=generator.randrange(1, 40))) for _ in range(count)]
    passages = []
    for start in range(0, len(contexts), 500):
        passages += tokenizer.passages([("who", context) for context in contexts[start : start + 500]], 24)
    found = 0
    for context, passage in zip(contexts, passages, strict=True):
        rows = [best_spans(rng.normal(size=(len(w), 2)).astype(np.float32), w.part, 30) for w in passage.windows]
        for start, end, _ in candidates_of(merged(np.stack(rows))[None])[0].tolist():
            if start >= 0:
                found += 1
                answer = context[int(start) : int(end)]
                assert 0 <= start < end <= len(context)
                assert answer
                assert answer == answer.strip() or "\0" in answer
    assert found > count
