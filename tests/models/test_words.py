"""Words of TF-IDF: scripts with marks, scripts without spaces, emoji, and one spelling per word."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ray.models.grams import grams, units
from lft_ray.models.tokens import Truncated, Unread
from lft_ray.models.words import WORDS, is_unspaced, known_version, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't STOP: 3.5", ["don", "'", "t", "stop", ":", "3", ".", "5"]),
        ("naïve “quotes” ½ x™", ["naïve", "“", "quotes", "”", "½", "x", "™"]),
        ("wow!!!! कील?", ["wow", "!!!", "!", "कील", "?"]),
        ("a\u200eb \x01 c", ["a", "b", "c"]),
        ("कील मीन", ["कील", "मीन"]),
        ("cafe\u0301 İstanbul", ["café", "i\u0307stanbul"]),
        ("co\u00adoperate", ["cooperate"]),
        ("a\u200bb", ["a", "b"]),
        ("ok\U0001f60d\U0001f1e9\U0001f1ea \u2764\ufe0f", ["ok", "\U0001f60d", "\U0001f1e9\U0001f1ea", "\u2764"]),
        ("東京カナ \uff36\uff29\uff33\uff21", ["東", "京", "カ", "ナ", "visa"]),
        ("ថ្ងៃនេះ", ["ថ្ងៃ", "នេះ"]),
        ("ดีครับ", ["ดี", "ค", "รั", "บ"]),
        ("a\0b", ["ab"]),
        ("\uff76\uff85\uff80\uff9e \ufb01ne", ["カ", "ナ", "ダ", "fine"]),
        (
            "\U0001d407\U0001d422 \ufe8d\ufedf\ufecc\ufeae\ufe91\ufef4\ufe94",
            ["hi", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629"],
        ),
        ("人々は二\u3007葛\U000e0100飾", ["人", "々", "は", "二", "\u3007", "葛", "飾"]),
        ("\ua9b2\ua98f\ua9c0\ua9b1\ua9ab", ["\ua9b2", "\ua98f\ua9c0\ua9b1", "\ua9ab"]),
        ("\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51", ["\u0f56\u0f7c\u0f51", "\u0f0b", "\u0f66\u0f90\u0f51"]),
        ("tie\u0302\u0301ng vie\u0323\u0302t", ["ti\u1ebfng", "vi\u1ec7t"]),
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
    assert split_words("cafe\u0301 \U0001f60d, ok?", 9, version=2) == ["café", "\U0001f60d", "ok"]
    # As a release with version 3 cut them.
    assert split_words("人々は二\u3007", 9, version=3) == ["人", "々", "は", "二", "\u3007"]
    assert split_words("葛\U000e0100飾", 9, version=3) == ["葛", "\U000e0100", "飾"]
    assert split_words("\uff76\uff85\uff80\uff9e \ufb01ne", 9, version=3) == ["\uff76\uff85\uff80\uff9e", "\ufb01ne"]


@pytest.mark.parametrize("text", ["\u200e\u200f", "\x01", "\u20e3", "\ufeff \u00ad", "\U000e0041"])
def test_a_text_without_a_visible_sign_has_no_words(text):
    assert isinstance(split_words(text, 9), Unread)


def test_long_words_count_for_several():
    found = split_words("x" * 50 + " y z " + "w" * 50, 9)
    assert found == ["x" * 50, "y", "z"]
    assert isinstance(found, Truncated)
    assert len(split_words("x" * 10_000, 9)) == 1
    assert not isinstance(split_words("x" * 60 + " y z " + "w" * 50, 9, version=2), Truncated)


def test_letters_of_scripts_without_spaces():
    assert is_unspaced("京")
    assert is_unspaced("々")
    assert not is_unspaced("々", version=3)
    assert is_unspaced("รั")
    assert not is_unspaced("ok")
    assert not is_unspaced("कील")


@pytest.mark.parametrize("version", [0, 5, "2", None])
def test_rules_of_another_release_are_refused(version):
    with pytest.raises(ValueError, match="words of version"):
        known_version(version)


LETTERS = (
    "\u4e2d\u3005\u30ab\uff76\uff9e\u0e01\u0e31\u0e33\u0915\u094d\u0937\u17d2\u1780\uac00\u0301e\u0323"
    "\u1ea1\u0627\u064e\ufedf\u200d \u3002"
)
SCRIPTS = st.text(st.one_of(st.characters(), st.sampled_from(LETTERS)), max_size=40)


def letters(text: str) -> str:
    """The letters and digits of a text, without case, width and marks."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold()).casefold()
    return "".join(c for c in unicodedata.normalize("NFKD", plain) if unicodedata.category(c)[0] in "LN")


@given(SCRIPTS)
def test_no_letter_is_lost(text):
    assert letters("".join(split_words(text, 999))) == letters(text)


@given(SCRIPTS, st.integers(1, WORDS))
def test_words_have_no_blanks_and_are_cut_again_alike(text, version):
    words = split_words(text, 999, version=version)
    assert all(word and not any(map(str.isspace, word)) for word in words)
    if version == WORDS:
        assert split_words(" ".join(words), 999) == words


@given(SCRIPTS)
def test_forms_of_a_text_have_the_same_words(text):
    for form in ("NFC", "NFD"):
        assert split_words(unicodedata.normalize(form, text), 999) == split_words(text, 999)


@given(SCRIPTS, st.integers(1, WORDS))
def test_units_hold_the_letters_of_the_words(text, version):
    words = split_words(text, 999, version=version)
    joined = units(words, version=version)
    assert "".join(joined) == "".join(words)
    assert all(grams(unit) for unit in joined)
