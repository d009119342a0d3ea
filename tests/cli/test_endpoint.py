"""Commands of an endpoint, as far as possible without a cluster."""

import gzip
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.config import Experiment
from lft_ray.processes import alive
from lft_ray.run.folder import RunFolder
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.wire import LabelScore
from tests.serve.conftest import bundles, make_predictor  # noqa: F401
from tests.serve.endpoint.conftest import fakes  # noqa: F401


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
        (["deploy", "--set", "search.trials=3"], "--set search.trials"),
        (["deploy", "--set", "serve.port=8080", "--set", "serve.grpc_port=8080"], "port and grpc_port are both 8080"),
        (["predict", "a text"], "no live endpoint"),
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

    def info(self):
        return make_predictor().info

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


def exported(run: str, bundle) -> RunFolder:
    found = RunFolder(run)
    shutil.copytree(bundle.uri, Path(run) / "bundle")
    found.put("bundle.json", bundle.replace(uri="/where/the/run/was/before/bundle"))
    return found


def test_every_command_says_what_it_did_from_deploy_to_down(invoke, run, fakes, bundles):  # noqa: F811
    found = exported(run, bundles["first"])
    started = invoke("deploy", run, "--set", "serve.port=0")
    assert started.exit_code == 0, started.output
    assert f"ready, version {bundles['first'].version}" in started.output
    state = json.loads(invoke("status", run, "--json").stdout)
    assert (state["serving"]["state"], state["version"]) == ("ready", bundles["first"].version)
    assert state["next"].startswith("lft predict")
    shown = invoke("status", run).output
    assert "serving        ready, " in shown
    assert "endpoint.log" in shown
    again = invoke("deploy", run)
    assert (again.exit_code, "nothing was changed" in again.output) == (0, True)
    refused = invoke("deploy", run, "--set", "serve.port=19999")
    assert (refused.exit_code, "serve.port" in refused.output) == (2, True)
    scaled = invoke("deploy", run, "--set", "serve.autoscaling.max_replicas=2")
    assert (scaled.exit_code, "1 to 2 replicas" in scaled.output) == (0, True)
    back = invoke("rollback", run)
    assert (back.exit_code, "no earlier bundle" in back.output) == (2, True)
    live = endpoints.read(found.storage)
    os.kill(live.pid, signal.SIGKILL)
    while alive(live.process):
        time.sleep(0.01)
    dead = invoke("status", run)
    assert "serving        dead" in dead.output
    assert f"next: lft deploy {run}" in dead.output
    asked = invoke("predict", run, "a text")
    assert (asked.exit_code, "is dead" in asked.output) == (4, True)
    assert invoke("down", run).exit_code == 0
    assert "stopped" in invoke("status", run).output


def test_the_command_of_a_model_card_works(invoke, fakes, bundles):  # noqa: F811
    bundle = bundles["first"].uri
    started = invoke("deploy", bundle, "--set", "serve.port=0")
    assert started.exit_code == 0, started.output
    assert f"next: lft predict {bundle} 'your text'" in started.output
    assert "ready" in invoke("status", bundle).output
    assert json.loads(invoke("status", bundle, "--json").stdout)["serving"]["state"] == "ready"
    refused = invoke("deploy", bundle, "--trial", "t1")
    assert (refused.exit_code, "need a run" in refused.output) == (2, True)
    assert "stopped http" in invoke("down", bundle).output


@pytest.mark.parametrize("command", ["status", "predict", "deploy", "rollback", "down"])
def test_a_damaged_record_is_named(invoke, run, bundles, command):  # noqa: F811
    exported(run, bundles["first"])
    (Path(run) / "endpoint.json").write_text('{"url": "http://127')
    result = invoke(command, run, *(["a text"] if command == "predict" else []))
    assert (result.exit_code, "endpoint.json cannot be read" in result.output) == (2, True), result.output


@pytest.mark.parametrize("target", ["127.0.0.1:1", "localhost:1", "serve.internal:8000/x", "[::1]:1"])
def test_an_address_without_its_scheme_is_named_as_one(invoke, target):
    for command in (["predict", target, "text"], ["bench", target]):
        found = invoke(*command)
        assert found.exit_code == 2
        assert f"fix: http://{target}" in found.stderr


def test_the_scheme_of_an_address_may_be_in_capitals():
    from lft_ray.cli.endpoint import url_of

    assert url_of("HTTP://127.0.0.1:1") == "HTTP://127.0.0.1:1"


def test_options_that_would_be_ignored_are_refused(answering, tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    source, output, url = str(tmp_path / "a.txt"), str(tmp_path / "o.parquet"), "http://127.0.0.1:9"
    for words, told in [
        ([url, "text", "--input", source], "texts and --input cannot be combined"),
        (["runs/x", "text", "--output", output], "texts and --output cannot be combined"),
        (["runs/x", "--input", source, "--output", output, "--top-k", "1"], "--top-k cannot be combined with --output"),
        ([url, "--input", source, "--text", "body"], "--text needs --output"),
    ]:
        result = CliRunner().invoke(app, ["predict", *words])
        assert (result.exit_code, told in result.stderr) == (2, True), result.output


def test_lines_of_a_table_are_told_to_be_texts(invoke, answering, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\none,x\n")
    result = invoke("predict", "http://127.0.0.1:9", "--input", str(tmp_path / "a.csv"))
    assert result.exit_code == 0, result.output
    assert "is read as one text, also its header; --output FILE.parquet reads its text column" in result.stderr


def test_a_dash_is_stdin_and_a_packed_file_is_unpacked(answering, tmp_path):
    result = CliRunner().invoke(app, ["predict", "http://127.0.0.1:9", "--input", "-"], input=b"one\n")
    assert (result.exit_code, "one" in result.stdout) == (0, True), result.output
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"two\n"))
    result = CliRunner().invoke(app, ["predict", "http://127.0.0.1:9", "--input", str(tmp_path / "a.txt.gz")])
    assert (result.exit_code, "two" in result.stdout) == (0, True), result.output
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"two\n" * 99)[:-9])
    result = CliRunner().invoke(app, ["predict", "http://127.0.0.1:9", "--input", str(tmp_path / "a.txt.gz")])
    assert (result.exit_code, "truncated" in result.stderr) == (2, True), result.output


def test_what_is_no_text_is_named(answering, tmp_path):
    (tmp_path / "a").write_bytes(b"PAR1\x15\x04\xff\xfe" + b"\0" * 100)
    result = CliRunner().invoke(app, ["predict", "http://127.0.0.1:9", "--input", str(tmp_path / "a")])
    assert (result.exit_code, "is a Parquet file, not lines of text" in result.stderr) == (2, True), result.output
    result = CliRunner().invoke(app, ["predict", "http://127.0.0.1:9"], input=b"<html>one</html>\n")
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["predict", "http://127.0.0.1:9", "--input", str(tmp_path)])
    assert (result.exit_code, "is a folder" in result.stderr) == (2, True), result.output
