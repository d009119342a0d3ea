"""Exit codes and messages of the commands."""

import io
import re
from pathlib import Path

import pytest

from lft_ray.cli.output import guarded, next_command, print_json, print_line, print_message, stdout
from lft_ray.errors import ConfigError, LftError, NoWinnerError, UnreachableError


def failing(error: BaseException):
    def command():
        raise error

    return guarded(command)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("wrong", fix="right"), 2, "error: wrong\n  fix: right\n"),
        (NoWinnerError("none"), 3, "error: none\n"),
        (UnreachableError("gone"), 4, "error: gone\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_become_a_message_and_an_exit_code(error, code, message, monkeypatch, capsys):
    monkeypatch.delenv("LFT_DEBUG", raising=False)
    with pytest.raises(SystemExit) as ended:
        failing(error)()
    assert ended.value.code == code
    assert capsys.readouterr() == ("", message)


def test_an_unexpected_error_leaves_its_traceback_in_a_file(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("LFT_DEBUG", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        failing(ZeroDivisionError("division"))()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ZeroDivisionError: division\n")
    log = Path(re.search(r"the traceback is in (\S+)", said)[1])
    assert "in command" in log.read_text()


@pytest.mark.parametrize("error", [LftError("wrong"), ZeroDivisionError()])
def test_debug_mode_lets_errors_through(error, monkeypatch):
    monkeypatch.setenv("LFT_DEBUG", "1")
    with pytest.raises(type(error)):
        failing(error)()


def test_data_goes_to_stdout_and_the_next_command_to_stderr(capsys):
    print_json({"label": "ü"})
    next_command("lft status runs/x")
    assert capsys.readouterr() == ('{\n "label": "ü"\n}\n', "next: lft status runs/x\n")


@pytest.mark.parametrize("text", ["[b]x[/b]", "[/x]", ":smile:", "a[bold]b", "[link=x]"])
def test_text_from_outside_is_never_markup(capsys, text):
    from rich.table import Table

    table = Table(title=f"title {text}")
    table.add_column(text)
    table.add_row(f"cell {text}")
    stdout().print(f"line {text}")
    stdout().print(table)
    said = capsys.readouterr().out
    assert said.count(text) == 4


def test_control_characters_are_shown(capsys):
    stdout().print("a\x1b[2Jb")
    print_line("two\nlines\u202e")
    print_message("error: \x07\n  fix: x")
    assert capsys.readouterr() == ("a\\x1b[2Jb\ntwo\\nlines\\u202e\n", "error: \\x07\n  fix: x\n")


@pytest.mark.parametrize(("columns", "width"), [("20", 80), ("80", 80), ("132", 132)])
def test_a_narrow_terminal_does_not_squeeze_the_numbers_out_of_a_table(columns, width, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    assert stdout().width == width
