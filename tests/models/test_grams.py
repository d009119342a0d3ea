"""Character n-grams: those of a word with a blank on each side, of runs in scripts without spaces."""

from lft_ray.models.grams import grams, units


def test_grams_of_a_word():
    assert grams("cat") == [" c", "ca", "at", "t ", " ca", "cat", "at ", " cat", "cat ", " cat "]
    assert grams("a") == [" a", "a ", " a "]


def test_letters_of_a_script_without_spaces_are_one_run():
    assert list(units(["東", "京", "is", "ok", "カ", "ナ", "!"])) == ["東京", "is", "ok", "カナ", "!"]
    assert list(units(["a", "b"])) == ["a", "b"]


def test_every_letter_of_a_long_run_is_read():
    letters = ["東"] * 1000
    assert sum(map(len, units(letters))) == 1000
    assert max(map(len, units(letters))) <= 256


def test_a_word_of_any_length_has_few_grams():
    assert len(grams("x" * 1_000_000)) < 1100
