"""Text from outside on a terminal."""

import json

import pytest

from lft_ray.system.text import json_text, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [b] größe 工单 🙂", "plain [b] größe 工单 🙂"),
        ("red\x1b[31m", "red\\x1b[31m"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("abc\u202etxt", "abc\\u202etxt"),
        ("caf\udce9", "caf\\udce9"),
        ("\x9b2J", "\\x9b2J"),
    ],
)
def test_hidden_characters_are_shown(text, shown):
    assert printable(text) == shown


def test_line_breaks_of_a_message_stay():
    assert printable("a\n\x07b", keep="\n") == "a\n\\x07b"


@pytest.mark.parametrize("value", ["\x1b[0m", "a\u202eb", "caf\udce9", "line\nbreak", {"ü": ["\x7f", "\ufeff"]}])
def test_json_has_no_hidden_characters_and_keeps_its_value(value):
    text = json_text(value)
    assert json.loads(text) == value
    assert printable(text, keep="\n") == text
    assert json_text(value, ascii_only=True).isascii()


def test_json_lines_have_no_line_break():
    assert "\n" not in json_text({"a": "b\nc\u2028d"}, indent=None)
