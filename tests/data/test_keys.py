"""Text keys: normalisation, word counts, seeded shuffling."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\uff36\uff29\uff33\uff21 \uff11\uff12\uff13", "visa 123"),
        ("\uff76\uff85\uff80\uff9e", "\u30ab\u30ca\u30c0"),
        ("\u4f53\u80b2\uff08\u56fd\u5185\uff09", "\u4f53\u80b2(\u56fd\u5185)"),
        ("\u845b\U000e0100\u98fe", "\u845b\u98fe"),
        ("\u0390", "\u03aa\u0301"),
        ("\ufe8d\ufedf", "\u0627\u0644"),
        ("\u0e19\u0e49\u0e33", "\u0e19\u0e49\u0e4d\u0e32"),
    ],
)
def test_forms_of_one_text_are_one_text(one, other):
    keys, _ = text_keys([one, other])
    assert keys[0] == keys[1]


def test_letters_without_spaces_are_counted_as_words():
    texts = ["\u4e2d\u534e\u5973\u5b50\u5b66\u9662\uff1a\u672c\u79d1", "two words", "\uff76\uff85\uff80\uff9e"]
    assert text_keys(texts)[1].tolist() == [8, 2, 3]


@given(st.text(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_normalising_twice_or_another_form_changes_nothing(text, form):
    assert normalise(normalise(text)) == normalise(text)
    assert normalise(unicodedata.normalize(form, text)) == normalise(text)
