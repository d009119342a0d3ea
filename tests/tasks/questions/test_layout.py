import numpy as np
import pytest

from lft_ray.tasks.questions.layout import (
    CANDIDATES,
    WIDTH,
    candidates_of,
    log_total_of,
    merged,
    none_score_of,
    row_of,
)


def row(*spans, total=3.0, none=-1.0):
    return row_of(np.array(spans, np.float64).reshape(-1, 3), total, none)


def test_a_row_holds_what_it_was_made_of():
    rows = np.stack([row((4, 9, 2.5), (0, 3, 1.0)), row()])
    assert rows.shape == (2, WIDTH)
    assert candidates_of(rows)[0, :2].tolist() == [[4, 9, 2.5], [0, 3, 1.0]]
    assert (candidates_of(rows)[1, :, :2] == -1).all()
    assert (log_total_of(rows).tolist(), none_score_of(rows).tolist()) == ([3.0, 3.0], [-1.0, -1.0])
    assert np.isfinite(rows).all()


def test_offsets_of_the_longest_context_are_exact():
    assert candidates_of(row((999_998, 999_999, 1.0))[None])[0, 0, :2].tolist() == [999_998, 999_999]


def test_windows_merge_to_their_best_spans():
    first = row((4, 9, 2.0), (0, 3, 1.0), total=2.5, none=5.0)
    second = row((40, 44, 3.0), (4, 9, 2.5), total=3.5, none=-2.0)
    whole = merged(np.stack([first, second]))
    assert candidates_of(whole[None])[0, :3].tolist() == [[40, 44, 3.0], [4, 9, 2.5], [0, 3, 1.0]]
    assert log_total_of(whole[None])[0] == pytest.approx(np.logaddexp(2.5, 3.5), abs=1e-6)
    assert none_score_of(whole[None])[0] == -2.0


def test_one_window_stays_as_it_is():
    only = row((4, 9, 2.0))
    assert merged(only[None]).tolist() == only.tolist()


def test_no_more_candidates_than_there_is_room_for():
    windows = [row(*[(10 * w + i, 10 * w + i + 1, float(i)) for i in range(CANDIDATES)][::-1]) for w in range(3)]
    assert (candidates_of(merged(np.stack(windows))[None])[0, :, 0] >= 0).all()
