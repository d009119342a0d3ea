"""Rows of a split: where they come from, and selections of them."""

import numpy as np

from tests.tasks.tables import clean_rows


def test_origin_of_a_clean_row_skips_dropped_rows():
    rows = clean_rows([("a", ["x"]), (" ", ["x"]), ("b", ["y"])])
    assert [rows.origin(index) for index in range(2)] == [("a.csv", 2), ("a.csv", 4)]


def test_take_keeps_every_column_in_step():
    rows = clean_rows([("a", ["x"]), ("b c", ["y"]), ("d", ["z"])])
    part = rows.take("test", np.array([2, 1]))
    assert (part.split, part.values["text"], part.values["label"]) == ("test", ["d", "b c"], [["z"], ["y"]])
    assert (part.row_ids.tolist(), part.words.tolist()) == ([2, 1], [1, 2])
    assert part.keys.tolist() == rows.keys[[2, 1]].tolist()
    assert part.origin(0) == ("a.csv", 4)
