"""Words of TF-IDF: scripts with marks, scripts without spaces, emoji, and one spelling per word."""

import pytest

from lft_ray.models.tokens import Truncated
from lft_ray.models.words import known_version, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't STOP: 3.5", ["don", "t", "stop", "3", "5"]),
        ("naïve “quotes” ½ x™", ["naïve", "quotes", "½", "x"]),
        ("कील मीन", ["कील", "मीन"]),
        ("cafe\u0301 İstanbul", ["café", "i\u0307stanbul"]),
        ("co\u00adoperate", ["cooperate"]),
        ("a\u200bb", ["a", "b"]),
        ("ok\U0001f60d\U0001f1e9\U0001f1ea \u2764\ufe0f", ["ok", "\U0001f60d", "\U0001f1e9\U0001f1ea", "\u2764"]),
        ("東京カナ \uff36\uff29\uff33\uff21", ["東", "京", "カ", "ナ", "visa"]),
        ("ថ្ងៃនេះ", ["ថ្ងៃ", "នេះ"]),
        ("ดีครับ", ["ดี", "ค", "รั", "บ"]),
        ("a\0b", ["ab"]),
    ],
)
def test_words(text, words):
    assert split_words(text, 99) == words


def test_spellings_of_one_text_have_the_same_words():
    assert split_words("Re\u0301sume\u0301 \uff56\uff12", 9) == split_words("R\u00e9sum\u00e9 v2", 9)


def test_more_words_than_the_limit_are_truncated():
    found = split_words("कील मीन कूल", 2)
    assert found == ["कील", "मीन"]
    assert isinstance(found, Truncated)


def test_a_model_fitted_with_older_rules_is_asked_with_them():
    assert split_words("cafe\u0301 \U0001f60d", 9, version=1) == ["cafe"]


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_rules_of_another_release_are_refused(version):
    with pytest.raises(ValueError, match="words of version"):
        known_version(version)
