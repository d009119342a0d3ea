"""Unicode rules: what is repaired, what counts as the same name, and what is shown of a difference."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ray.texts import canonical, differences, invisible_key, is_blank, normal_text, repaired, shown, skeleton


@pytest.mark.parametrize(
    "other",
    ["cafe\u0301", "caf\u00e9\u200b", "\ufeffcaf\u00e9", "ca\u00adf\u00e9", "caf\u00e9\ufe0f", "caf\u2060\u00e9"],
)
def test_names_that_look_the_same_have_one_key(other):
    assert invisible_key(other) == invisible_key("caf\u00e9")
    assert canonical(other) == canonical("caf\u00e9")
    assert not differences(other, "caf\u00e9").startswith("no")


def test_kinds_of_spaces_are_one():
    assert len({invisible_key(f"two{space}words") for space in " \u00a0\u2009\u3000"}) == 1


@pytest.mark.parametrize(("name", "latin"), [("s\u0440am", "spam"), ("\u039f\u039a", "OK"), ("\uff36isa", "visa")])
def test_look_alikes_share_a_skeleton_only(name, latin):
    assert skeleton(name) == skeleton(latin)
    assert invisible_key(name) != invisible_key(latin)


def test_different_names_stay_different():
    flags = ["\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e007f", "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e007f"]
    names = ["pos", "neg", "m2", "\u043f\u043e\u043b", "\u0438", "\u4e2d", *flags]
    assert len(set(map(skeleton, names))) == len(names)


def test_code_points_are_named():
    found = differences("s\u0440am", "spam")
    assert found == "U+0440 CYRILLIC SMALL LETTER ER in the first, U+0070 LATIN SMALL LETTER P in the second"
    assert "U+200B" in differences("spam\u200b", "spam")
    assert "U+200B" in differences("spam", "spam\u200b")
    assert differences("a", "a") == "no difference"


def test_control_characters_are_shown_escaped():
    assert shown("a\x1b[31m\r\nb\u200b") == r"'a\x1b[31m\r\nb\u200b'"
    assert len(shown("x" * 500)) == 62


def test_texts_are_repaired_and_composed():
    assert repaired("a\0b\ud800") == "ab\ufffd"
    assert normal_text("e\u0301\0") == "\u00e9"
    assert repaired("e\u0301") == "e\u0301"


def test_blank_texts():
    assert all(map(is_blank, ["", " ", "\t\n", "\u200b\ufeff", "\u00a0\u00ad", "\0"]))
    assert not any(map(is_blank, ["a", "\u200ba", "?!", "\U0001f600"]))


@given(st.text(st.characters(exclude_categories=[])))
def test_normal_forms_are_reached_in_one_step(text):
    for normal in (repaired, normal_text, canonical, invisible_key):
        assert normal(normal(text)) == normal(text)
    normal_text(text).encode()


@given(st.text(), st.sampled_from(["NFC", "NFD"]))
def test_a_text_is_the_same_in_either_form(text, form):
    other = unicodedata.normalize(form, text)
    assert normal_text(other) == normal_text(text)
    assert invisible_key(other) == invisible_key(text)
    assert canonical(other) == canonical(text)
