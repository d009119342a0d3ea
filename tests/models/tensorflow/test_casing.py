"""Whether texts are lower-cased: options, names, vocabularies, and where they contradict each other."""

import pytest

from lft_ray.errors import ModelError
from lft_ray.models.tensorflow.casing import casing

LOWER = ["[PAD]", "[UNK]", "the", "##s", "\u0101", "<S>"]
CAPITALS = [*LOWER, "The", "\u00c4"]


@pytest.mark.parametrize(
    ("name", "vocabulary", "lower"),
    [
        ("uncased_L-12_H-768_A-12", LOWER, True),
        ("bert-base-uncased", LOWER, True),
        ("wwm_uncased_L-24", LOWER, True),
        ("chinese_L-12_H-768_A-12", LOWER, True),
        ("multilingual_L-12_H-768_A-12", LOWER, True),
        ("cased_L-12_H-768_A-12", CAPITALS, False),
        ("multi_cased_L-12_H-768_A-12", CAPITALS, False),
        ("BERT-Cased", CAPITALS, False),
    ],
)
def test_the_name_says_it(name, vocabulary, lower):
    found = casing(None, name, vocabulary)
    assert (found.lower, found.source) == (lower, "name")


@pytest.mark.parametrize(("vocabulary", "lower"), [(LOWER, True), (CAPITALS, False)])
def test_else_the_vocabulary_does(vocabulary, lower):
    found = casing(None, "showcased_model", vocabulary)
    assert (found.lower, found.source) == (lower, "vocabulary")


@pytest.mark.parametrize(("name", "vocabulary"), [("uncased_x", CAPITALS), ("cased_x", LOWER)])
def test_a_contradiction_is_an_error_unless_the_user_says(name, vocabulary):
    with pytest.raises(ModelError, match="--uncased or --cased"):
        casing(None, name, vocabulary)
    assert casing(True, name, vocabulary).lower
    assert not casing(False, name, vocabulary).lower


def test_an_option_against_the_vocabulary_is_told():
    assert "although vocab.txt has 0 tokens with capitals" in casing(False, "x", LOWER).reason
    assert "although" not in casing(True, "x", LOWER).reason
