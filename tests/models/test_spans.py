"""Joint choice of start and end, against the plain search over all spans."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft_ray.models.spans import ContextPart, best_spans
from lft_ray.tasks.questions.layout import CANDIDATES, candidates_of, log_total_of, none_score_of


def part_of(tokens, first=3):
    starts = np.arange(tokens) * 5
    return ContextPart(first, starts, starts + 4)


def searched(logits, part, longest):
    """Every span with its score, best first; ties by start, then by length."""
    spans = [
        (-(float(logits[part.first + i, 0]) + float(logits[part.first + j, 1])), i, j - i)
        for i in range(len(part.starts))
        for j in range(i, min(len(part.starts), i + longest))
    ]
    return [(int(part.starts[i]), int(part.ends[i + k]), -score) for score, i, k in sorted(spans)]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**31))
def test_the_best_spans_are_those_of_a_search_over_all(tokens, longest, seed):
    logits = np.random.default_rng(seed).normal(size=(tokens + 5, 2)).astype(np.float32)
    row = best_spans(logits, part_of(tokens), longest)[None]
    expected = searched(logits, part_of(tokens), longest)
    found = candidates_of(row)[0][: len(expected)]
    assert found.tolist() == pytest.approx(np.array(expected[:CANDIDATES]), abs=1e-5)
    total = np.logaddexp.reduce([score for *_, score in expected])
    assert log_total_of(row)[0] == pytest.approx(total, abs=1e-5)
    assert none_score_of(row)[0] == pytest.approx(float(logits[0].sum()), abs=1e-5)


def test_the_end_is_never_before_the_start():
    logits = np.zeros((10, 2), np.float32)
    logits[8, 0], logits[4, 1] = 9.0, 9.0
    start, end, _ = candidates_of(best_spans(logits, part_of(6), 30)[None])[0, 0]
    assert start < end


def test_an_answer_has_no_more_tokens_than_allowed():
    logits = np.zeros((10, 2), np.float32)
    logits[3, 0], logits[8, 1] = 9.0, 9.0
    for longest in (1, 3, 6):
        start, end, _ = candidates_of(best_spans(logits, part_of(6), longest)[None])[0, 0]
        assert (end - start) <= 5 * longest
    assert (start, end) == (0, 29)


def test_tokens_of_one_word_are_one_place():
    logits = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    whole = ContextPart(2, np.array([0, 0, 0, 7]), np.array([6, 6, 6, 9]))
    found = candidates_of(best_spans(logits, whole, 30)[None])[0]
    places = [tuple(place) for place in found[:, :2].tolist() if place[0] >= 0]
    assert len(places) == len(set(places)) == 3


def test_tokens_without_a_character_are_no_answer():
    logits = np.zeros((6, 2), np.float32)
    logits[2] = 9.0
    blank = ContextPart(2, np.array([4, 5]), np.array([4, 8]))
    assert candidates_of(best_spans(logits, blank, 30)[None])[0, 0, :2].tolist() == [5, 8]
    nothing = ContextPart(2, np.array([4, 4]), np.array([4, 4]))
    assert (candidates_of(best_spans(logits, nothing, 30)[None])[0, :, :2] == -1).all()
    assert np.isfinite(best_spans(logits, nothing, 30)).all()


def test_a_window_without_context_has_no_answer():
    row = best_spans(np.ones((3, 2), np.float32), ContextPart(2, np.empty(0, int), np.empty(0, int)), 30)[None]
    assert (candidates_of(row)[0, :, 0] == -1).all()
    assert none_score_of(row)[0] == 2.0
