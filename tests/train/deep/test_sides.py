import numpy as np

from lft_ray.train.deep.sides import cannot_judge, linked


def test_rows_with_a_text_in_common_share_a_group_also_through_others():
    rows = np.arange(40, dtype=np.uint64)
    first, second = rows + np.uint64(100), rows + np.uint64(200)
    first[1] = first[0]  # 0 and 1 share a question,
    second[2] = second[1]  # 1 and 2 a reply
    found = linked(rows, [first, second])
    assert len({*found[:3].tolist()}) == 1
    assert len(np.unique(found)) == 38


def test_where_nearly_all_rows_are_linked_the_first_text_decides():
    rows = np.arange(40, dtype=np.uint64)
    first, second = rows // np.uint64(4), np.zeros(40, np.uint64)
    found = linked(rows, [first, second])
    assert len(np.unique(found)) == 10
    # And where that one is always the same too, each row is by itself.
    assert len(np.unique(linked(rows, [second, second]))) == 40


def test_a_probe_that_guesses_accuses_nobody():
    targets = np.array([0, 1] * 50)
    guess = np.full((100, 2), 0.5)
    guess[:50, 0] += 0.1
    assert "50% of the labels" in cannot_judge(guess, targets)
    assert "accuses none" in cannot_judge(guess, targets)
    assert cannot_judge(np.eye(2)[targets], targets) == ""
    rare = np.array([0] * 95 + [1] * 5)
    assert cannot_judge(np.tile([0.9, 0.1], (100, 1)), rare), "always the most frequent label is no skill"
