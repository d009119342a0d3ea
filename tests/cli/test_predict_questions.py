"""Questions on the command line: by an endpoint, and by a bundle in this process."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from tests.cli.tables import write_table
from tests.serve.conftest import export_overlap, make_pair_service, make_question_service
from tests.serve.running import running

CONTEXT = 'Ada met "Bob",\nin Leeds 👋 today'
ROWS = [("Leeds?", CONTEXT), ("met Leeds?", CONTEXT), ("Zoë?", CONTEXT)]
BEST = ["Leeds", "met", ""]


@pytest.fixture(scope="module")
def url():
    with running(make=make_question_service) as found:
        yield found.url


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export_overlap(tmp_path_factory.mktemp("questions")).uri


def invoke(*words: str, stdin: bytes | None = None, command: str = "predict"):
    return CliRunner().invoke(app, [command, *words], input=stdin)


def rows_of(result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def written(folder: Path, suffix: str, question: str = "question", context: str = "context") -> str:
    if suffix != ".json":
        return write_table(folder, suffix, (question, context), ROWS)
    path = folder / "rows.json"
    asked = [{"id": str(n), "question": q, "answers": []} for n, (q, _) in enumerate(ROWS)]
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]}))
    return str(path)


def test_one_question_is_answered_with_score_and_place(url):
    result = invoke(url, "--question", "Leeds?", "--context", CONTEXT)
    assert result.exit_code == 0, result.output
    start = CONTEXT.index("Leeds")
    score, place, answer, question = result.stdout.split()
    assert (0 < float(score) <= 1, place, answer, question) == (True, f"{start}:{start + 5}", "Leeds", "Leeds?")
    [row] = rows_of(invoke(url, "--question", "Leeds?", "--context", CONTEXT, "--json"))
    assert (row["question"], row["context"]) == ("Leeds?", CONTEXT)
    assert {**row["answers"][0], "score": 0} == {"answer": "Leeds", "start": start, "end": start + 5, "score": 0}
    none = invoke(url, "--question", "Zoë?", "--context", CONTEXT)
    assert "(no answer)" in none.stdout


def test_the_context_may_come_from_stdin(url):
    for more in ([], ["--context", "-"]):
        result = invoke(url, "--question", "Leeds?", *more, "--json", stdin=CONTEXT.encode())
        assert rows_of(result)[0]["context"] == CONTEXT


def test_several_answers_are_lines(url):
    result = invoke(url, "--question", "met Leeds?", "--context", CONTEXT, "--top-k", "3")
    assert [line[21:].split()[0] for line in result.stdout.splitlines()] == ["met", "Leeds", "(no"]
    [row] = rows_of(invoke(url, "--question", "met Leeds?", "--context", CONTEXT, "--top-k", "2", "--json"))
    assert [one["answer"] for one in row["answers"]] == ["met", "Leeds"]


def test_texts_two_by_two_and_lines_with_a_tab(url):
    assert rows_of(invoke(url, "Bob", "a Bob", "b", "b b", "--json"))[0]["answers"][0]["answer"] == "Bob"
    rows = rows_of(invoke(url, "--json", stdin=b"Bob\ta Bob\n\nb\tb c\n"))
    assert [one["answers"][0]["answer"] if one["answers"] else None for one in rows] == ["Bob", None, "b"]
    wrong = invoke(url, stdin=b"Bob\n")
    assert (wrong.exit_code, "expected one between the question and its context" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_a_table_is_read_by_its_columns(url, tmp_path, suffix):
    rows = rows_of(invoke(url, "--input", written(tmp_path, suffix), "--json"))
    assert [(row["question"], row["context"]) for row in rows] == ROWS
    assert [row["answers"][0]["answer"] for row in rows] == BEST
    if suffix == ".json":
        return
    own = written(tmp_path, suffix, "asked here", "read there")
    missing = invoke(url, "--input", own)
    assert (missing.exit_code, "no question column" in missing.stderr) == (2, True), missing.output
    named = invoke(url, "--input", own, "--question", "asked here", "--context", "read there", "--json")
    assert rows_of(named) == rows


def test_options_that_do_not_fit_are_named(url, tmp_path):
    with running() as single, running(make=make_pair_service) as pairs:
        for words, told in [
            ([url, "--context", "a"], "--context needs --question"),
            ([url, "--question", "a", "--context", " "], "the context is blank"),
            ([url, "a", "--question", "b"], "cannot be combined"),
            ([url, "a"], "this model answers questions about a context, got 1 text"),
            ([url, "--text-a", "x", "--input", "y.csv"], "for a model on pairs, and this one answers questions"),
            ([url, "--question", "a", "--context", "b", "--top-k", "6"], "top_k must be a whole number from 1 to 5"),
            ([single.url, "--question", "a", "--context", "b"], "for a model that answers questions, and this one"),
            ([pairs.url, "--question", "a", "--context", "b"], "for a model that answers questions, and this one"),
        ]:
            result = invoke(*words)
            assert (result.exit_code, told in result.stderr) == (2, True), (words, result.output)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_bundle_answers_a_table(bundle, tmp_path, suffix):
    out = tmp_path / "out.parquet"
    result = invoke(bundle, "--input", written(tmp_path, suffix), "--output", str(out))
    assert result.exit_code == 0, result.output
    found = pq.read_table(out).to_pylist()
    assert list(found[0]) == ["row", "question", "context", "answer", "start", "end", "score"]
    assert [(row["question"], row["context"]) for row in found] == ROWS
    assert all(row["context"][row["start"] : row["end"]] == row["answer"] for row in found)
    named = invoke(
        bundle, "--input", written(tmp_path, ".csv"), "--output", str(tmp_path / "b.parquet"), "--text-a", "id"
    )
    assert (named.exit_code, "this model reads question and context" in named.stderr) == (2, True), named.output


def test_bench_asks_questions(url, tmp_path):
    for more in ([], ["--input", written(tmp_path, ".csv")]):
        result = invoke(url, "--seconds", "1", "--connections", "2", "--json", "--rate", "5", *more, command="bench")
        assert result.exit_code == 0, result.output
        [row] = json.loads(result.stdout)
        assert (row["failed"], row["requests"] > 0) == (0, True)
