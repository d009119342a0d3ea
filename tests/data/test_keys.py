"""Text keys: normalisation, word counts, seeded shuffling."""

import numpy as np

from lft_ray.data.keys import normalise, shuffled_keys, text_keys


def test_normal_form():
    assert normalise(" Caf\u0065\u0301  \u2126 \n NEWS ") == normalise("caf\u00e9 \u03a9 news")
    assert normalise("good!") != normalise("good?")
    keys, words = text_keys(["a b", "A  b", "c"])
    assert (keys[0] == keys[1], keys[0] == keys[2], words.tolist()) == (True, False, [2, 2, 1])


def test_shuffled_keys_are_uniform_and_one_to_one():
    numbers = shuffled_keys(np.arange(10_000, dtype=np.uint64), seed=0, salt="x")
    assert len(np.unique(numbers)) == 10_000
    assert abs(float((numbers / 2.0**64).mean()) - 0.5) < 0.02
    assert not np.array_equal(numbers, shuffled_keys(np.arange(10_000, dtype=np.uint64), seed=1, salt="x"))


def test_text_keys_do_not_depend_on_the_position_of_a_text():
    keys, _ = text_keys(["one", "two", "three"])
    assert text_keys(["three", "one"])[0].tolist() == [keys[2], keys[0]]
    assert text_keys([])[0].dtype == np.uint64


def test_shuffled_keys_depend_on_the_salt():
    keys = np.arange(100, dtype=np.uint64)
    assert not np.array_equal(shuffled_keys(keys, seed=0, salt="split"), shuffled_keys(keys, seed=0, salt="sample"))
