"""Commands of an endpoint, as far as possible without a cluster."""

import json

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.config import Experiment
from lft_ray.run.folder import RunFolder
from lft_ray.wire import LabelScore


@pytest.fixture
def invoke():
    return lambda *args: CliRunner().invoke(app, list(args))


@pytest.fixture
def run(tmp_path):
    (tmp_path / "news.csv").write_text("text,label\n")
    experiment = {"name": "news", "data": {"train": str(tmp_path / "news.csv")}, "models": [{"base": "tfidf"}]}
    found = RunFolder.begin(
        Experiment.parse(experiment | {"storage": str(tmp_path / "runs")}), resume=False, replace=False
    )
    return found.uri


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["rollback"], "no live endpoint"),
        (["deploy", "--cascade", "minilm:1"], "--cascade expects two names"),
        (["deploy", "--cascade", "a,b", "--trial", "t1"], "cannot be combined"),
        (["deploy", "--cascade", "a,b"], "no profiles yet"),
        (["deploy", "--canary", "0.9"], "serve.rollout.canary_share"),
        (["bench"], "no live endpoint"),
    ],
)
def test_what_cannot_be_is_said_with_exit_code_2(invoke, run, options, message):
    result = invoke(options[0], run, *options[1:])
    assert result.exit_code == 2, result.output
    assert message in result.output


class Answering:
    """Stands for the client: the label of a text is its first word."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def predict(self, texts, top_k=None):
        assert all(text.strip() for text in texts), "an endpoint refuses blank texts"
        return [[LabelScore(label=text.split()[0], score=0.5)] for text in texts]


@pytest.fixture
def answering(monkeypatch):
    monkeypatch.setattr("lft_ray.client.Client", Answering)


def test_every_line_keeps_its_place_in_the_answers(invoke, answering, tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffone\u2028x\r\n\r\n\u200b\ntwo\x85y\n".encode())
    result = invoke("predict", "http://127.0.0.1:9", "--input", str(tmp_path / "a.txt"), "--json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.split("\n") if line]
    assert [row["text"] for row in rows] == ["one\u2028x", "", "\u200b", "two\x85y"]
    assert [len(row["labels"]) for row in rows] == [1, 0, 0, 1]
    assert "2 of 4 texts are blank" in result.stderr
    plain = invoke("predict", "http://127.0.0.1:9", "--input", str(tmp_path / "a.txt"))
    assert len(plain.stdout.rstrip("\n").split("\n")) == 4
    assert "\u2028" not in plain.stdout


def test_input_that_is_not_utf_8_is_bad_input_unless_its_encoding_is_named(answering):
    command = ["predict", "http://127.0.0.1:9"]
    result = CliRunner().invoke(app, command, input=b"plain\ncaf\xe9\n")
    assert result.exit_code == 2
    assert "stdin:2: byte 0xe9" in result.stderr
    assert "--encoding cp1252" in result.stderr
    result = CliRunner().invoke(app, [*command, "--encoding", "cp1252"], input=b"plain\ncaf\xe9\n")
    assert result.exit_code == 0, result.output
    assert "caf\u00e9" in result.stdout
    assert CliRunner().invoke(app, [*command, "--encoding", "utf-9"], input=b"x").exit_code == 2


def test_input_of_blank_lines_only_is_no_input(answering):
    result = CliRunner().invoke(app, ["predict", "http://127.0.0.1:9"], input=b"\n \n\xe2\x80\x8b\n")
    assert result.exit_code == 2
    assert "stdin is empty" in result.stderr
    assert CliRunner().invoke(app, ["predict", "http://127.0.0.1:9", " "]).exit_code == 2
