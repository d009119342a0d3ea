"""Words and rough tokens of texts with and without spaces."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ray.scripts import count_words, rough_tokens

UNSPACED = "\u4e2d\u6587\u3042\u30ab\u0e14\u1780\u1000\ua9a9\uff76\u3005"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("two words", 2),
        ("\u0434\u0432\u0430 \u0441\u043b\u043e\u0432\u0430", 2),
        ("\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8", 2),
        ("\u4e2d\u534e\u5973\u5b50\u5b66\u9662\uff1a\u672c\u79d1", 8),
        ("iPhone\u624b\u673a, \u5f88\u597d", 5),
        ("\u3053\u308c\u306f\u30da\u30f3\u3067\u3059\u3002", 7),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", 4),
        ("\u4eba\u3005", 2),
        ("", 0),
        ("\u3002", 0),
    ],
)
def test_words(text, words):
    assert count_words(text) == words


def test_rough_tokens_know_scripts_and_long_words():
    assert rough_tokens("two words") == pytest.approx(4.8)
    assert rough_tokens("\u4e2d\u6587" * 50) == pytest.approx(102)
    assert rough_tokens("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a") == pytest.approx(12)
    # A word of 20 letters is no 1.4 tokens; in other alphabets a token holds fewer letters than in Latin.
    assert rough_tokens("internationalisation") == pytest.approx(7)
    assert rough_tokens("\u0434\u043e\u0441\u0442\u043e\u043f\u0440\u0438\u043c\u0435\u0447\u0430\u0442\u0435") >= 9
    assert rough_tokens("\u0939\u093f\u0928\u094d\u0926\u0940") == pytest.approx(5)


@given(st.text(), st.text())
def test_counts_are_never_negative_and_grow_with_the_text(first, second):
    assert 0 <= count_words(first) <= len(first)
    both = f"{first} {second}"
    assert count_words(both) >= max(count_words(first), count_words(second))
    assert rough_tokens(both) >= max(rough_tokens(first), rough_tokens(second)) - 1e-9


@given(st.text(st.sampled_from(UNSPACED)))
def test_a_letter_without_spaces_is_a_word_and_a_token(text):
    letters = sum(unicodedata.category(letter)[0] == "L" for letter in text)
    assert count_words(text) == letters
    assert rough_tokens(text) == len(text) + 2
