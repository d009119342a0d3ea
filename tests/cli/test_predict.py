"""Pairs of texts on the command line: by an endpoint, and by a bundle in this process."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.engines.batching import run_sorted
from lft_ray.export.bundle import open_bundle
from tests.cli.tables import write_table
from tests.serve.conftest import export_tfidf_pairs, make_pair_service
from tests.serve.running import running

PAIRS = [("one two three", "one"), ("one", "one two three, four"), ('say "so"', "é\nè")]
WINNERS = ["first", "second", "first"]


@pytest.fixture(scope="module")
def url():
    with running(make=make_pair_service) as found:
        yield found.url


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export_tfidf_pairs(tmp_path_factory.mktemp("pairs")).uri


def invoke(*words: str, stdin: bytes | None = None):
    return CliRunner().invoke(app, ["predict", *words], input=stdin)


def written(folder: Path, suffix: str, first: str = "text_a", second: str = "text_b") -> str:
    return write_table(folder, suffix, (first, second), PAIRS)


def test_texts_are_taken_two_by_two(url):
    result = invoke(url, "one two three", "one", "one", "one two")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["first", "second"]
    assert lines[0].endswith("one two three | one")
    odd = invoke(url, "one", "two", "three")
    assert (odd.exit_code, "reads pairs of texts, got 3 texts" in odd.stderr) == (2, True)
    assert "'first text' 'second text'" in odd.stderr


def test_lines_have_a_tab_between_the_two_texts(url):
    result = invoke(url, "--json", stdin=b"one two\tone\n\n \t \none\tone two\n")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["text_a"], row["text_b"]) for row in rows] == [
        ("one two", "one"),
        ("", ""),
        ("", ""),
        ("one", "one two"),
    ]
    assert [row["labels"][0]["label"] if row["labels"] else None for row in rows] == ["first", None, None, "second"]
    assert "2 of 4 texts are blank" in result.stderr
    for line, told in (
        (b"one\n", "stdin:1: the line has no tab"),
        (b"a\tb\na\tb\tc\n", "stdin:2: the line has 2 tabs"),
    ):
        wrong = invoke(url, stdin=line)
        assert (wrong.exit_code, told in wrong.stderr) == (2, True), wrong.output
    assert invoke(url, stdin=b"\n\n").exit_code == 2
    half = invoke(url, "--json", stdin=b"one\t \na\tb\n")
    assert [len(json.loads(line)["labels"]) for line in half.stdout.splitlines()] == [0, 2]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_table_is_read_by_its_columns(url, tmp_path, suffix):
    result = invoke(url, "--input", written(tmp_path, suffix), "--json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["text_a"], row["text_b"]) for row in rows] == PAIRS
    assert [row["labels"][0]["label"] for row in rows] == WINNERS
    own = written(tmp_path, suffix, "left one", "right one")
    missing = invoke(url, "--input", own)
    assert (missing.exit_code, "no text_a column" in missing.stderr) == (2, True)
    assert "--text-a NAME" in missing.stderr
    named = invoke(url, "--input", own, "--text-a", "left one", "--text-b", "right one", "--json")
    assert named.stdout == result.stdout


def test_options_that_do_not_fit_are_named(url, bundle, tmp_path):
    table, out = written(tmp_path, ".csv"), str(tmp_path / "out.parquet")
    for words, told in [
        ([url, "--text-a", "x", "--input", str(tmp_path / "a.csv")], "does not exist"),
        ([url, "a", "b", "--text", "x"], "--text needs --output"),
        ([bundle, "--input", table, "--output", out, "--text", "id"], "--text names a column, and this model reads"),
        ([bundle, "--input", table, "--output", out, "--text", "id", "--text-a", "id"], "cannot be combined"),
        ([bundle, "--input", table, "--output", out, "--text-a", "nope"], "column 'nope'"),
    ]:
        result = invoke(*words)
        assert (result.exit_code, told in result.stderr) == (2, True), result.output
    (tmp_path / "lines.txt").write_text("a\tb\n")
    result = invoke(url, "--text-a", "x", "--input", str(tmp_path / "lines.txt"))
    assert (result.exit_code, "need --input with a table" in result.stderr) == (2, True)


def test_a_model_on_single_texts_has_no_second_column(tmp_path):
    with running() as single:
        result = invoke(single.url, "one", "--text-b", "x")
    assert (result.exit_code, "this one reads single texts" in result.stderr) == (2, True), result.output


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_bundle_predicts_a_table_of_pairs(bundle, tmp_path, suffix):
    table, out = written(tmp_path, suffix, "question", "answer"), tmp_path / "out.parquet"
    result = invoke(bundle, "--input", table, "--output", str(out))
    assert result.exit_code == 0, result.output
    found = pq.read_table(out)
    assert found.column_names == ["row", "text_a", "text_b", "label", "score", "scores"]
    assert list(zip(found["text_a"].to_pylist(), found["text_b"].to_pylist(), strict=True)) == PAIRS
    opened = open_bundle(Path(bundle))
    expected = opened.task().probabilities(run_sorted(opened.open_runner(), PAIRS))
    np.testing.assert_allclose(np.array(found["scores"].to_pylist()), expected, atol=1e-6)


def test_a_row_without_one_of_its_texts_has_no_label(bundle, tmp_path):
    (tmp_path / "rows.csv").write_text('text_a,text_b\none,\n"",two\none,one\n')
    result = invoke(bundle, "--input", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out.parquet"))
    assert result.exit_code == 0, result.output
    assert "2 rows have no text" in result.stderr
    assert [label is None for label in pq.read_table(tmp_path / "out.parquet")["label"].to_pylist()] == [
        True,
        True,
        False,
    ]
