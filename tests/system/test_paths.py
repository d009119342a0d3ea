"""Paths that a user gives: home, existing names before patterns, URIs with a query."""

from pathlib import Path

import pytest

from lft_ray.errors import InputError
from lft_ray.system.paths import is_uri, joined, matches, resolve


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder(home):
    assert resolve("~") == home
    assert resolve("~/runs/x.csv") == home / "runs/x.csv"
    assert resolve(Path("~/runs")) == home / "runs"


def test_a_folder_called_tilde_needs_a_path(home):
    Path("~").mkdir()
    assert resolve("~/x") == home / "x"
    assert resolve("./~/x") == Path("./~/x")


@pytest.mark.parametrize("name", ["~$rows.csv", "~.csv", "~nobody-of-that-name/x", "a~b", "2024.csv"])
def test_other_names_stay_as_they_are(home, name):
    assert resolve(name) == Path(name)


def test_a_file_comes_before_a_user(home):
    Path("~root").touch()
    assert resolve("~root") == Path("~root")


def test_an_existing_file_is_no_pattern(home):
    for name in ("[1].csv", "1.csv", "*.csv"):
        Path(name).touch()
    assert matches("[1].csv") == [Path("[1].csv")]
    assert matches("*.csv") == [Path("*.csv")]
    assert matches("?.csv") == [Path("*.csv"), Path("1.csv")]
    assert matches("none-*.csv") == []
    assert matches("none.csv") is None


@pytest.mark.parametrize("text", ["a" * 256, "x/" + "\u00e4" * 128, "ab/" * 1400])
def test_what_is_too_long_for_a_path_is_refused(text):
    with pytest.raises(InputError, match=r"is not a path: it is too long \("):
        resolve(text)
    assert resolve("a" * 255).name == "a" * 255


def test_a_nul_character_is_refused():
    with pytest.raises(InputError, match="NUL"):
        resolve("a\0b")


@pytest.mark.parametrize(
    ("uri", "result"),
    [
        ("runs", "runs/a/b"),
        ("runs/", "runs/a/b"),
        ("what?", "what?/a/b"),
        ("s3://bucket/runs", "s3://bucket/runs/a/b"),
        (
            "s3://bucket/runs?scheme=http&endpoint_override=h:1",
            "s3://bucket/runs/a/b?scheme=http&endpoint_override=h:1",
        ),
    ],
)
def test_a_path_goes_before_the_query(uri, result):
    assert joined(uri, ["a", "b"]) == result


def test_schemes():
    assert [is_uri(text) for text in ("s3://x", "GS://x", "a:b", "/s3://x")] == [True, True, False, False]
