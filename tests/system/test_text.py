"""Text from outside on a terminal."""

import json
import subprocess

import pytest

from lft_ray.system.text import json_text, printable, quoted


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


@pytest.mark.parametrize(
    ("word", "typed"),
    [
        ("runs/news", "runs/news"),
        ("my runs/a", "'my runs/a'"),
        ("a'b;rm", "'a'\"'\"'b;rm'"),
        ("a\nb", r"$'a\nb'"),
        ("it's\x1b\\", r"$'it\'s\x1b\\'"),
    ],
)
def test_a_word_of_a_command_is_quoted_as_a_shell_reads_it(word, typed):
    assert quoted(word) == typed
    shell = subprocess.run(["bash", "-c", f"printf %s {typed}"], capture_output=True, text=True, check=True)
    assert shell.stdout == word
