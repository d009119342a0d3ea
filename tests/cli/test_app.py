"""The command line itself: names, speed and env."""

import json
import resource
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app

COMMANDS = {
    "init", "check", "plan", "search", "train", "status", "leaderboard", "report", "export", "deploy", "predict",
    "down", "env", "rollback", "bench", "quickstart",
}  # fmt: skip


@pytest.fixture
def invoke():
    return lambda *args: CliRunner().invoke(app, list(args))


def test_every_command_is_listed_and_has_an_example(invoke):
    top = invoke("--help").output
    for name in COMMANDS:
        assert name in top
        assert "Example: lft" in invoke(name, "--help").output, name


def children_processor_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_is_quick():
    # It takes 0.35 processor seconds; torch, ray or transformers alone take more than 2. Wall seconds on a shared
    # machine say little, and the best of three is what the neighbours disturbed least.
    seconds = []
    for _ in range(3):
        before = children_processor_s()
        subprocess.run([sys.executable, "-m", "lft_ray", "--help"], capture_output=True, check=True)
        seconds.append(children_processor_s() - before)
    assert 0.0 < min(seconds) < 2.0


def test_env_prints_schema_models_prices_and_versions(invoke):
    schema = json.loads(invoke("env", "--schema").stdout)
    assert "training" in schema["properties"]
    bases = {row["name"] for row in json.loads(invoke("env", "--models", "--json").stdout)}
    assert {"minilm", "tfidf", "bert-l2-h128", "bert-l12-h768", "distilbert-base-uncased", "gpt2"} <= bases
    assert any(row["name"] == "this_machine" for row in json.loads(invoke("env", "--prices", "--json").stdout))
    assert json.loads(invoke("env", "--json").stdout)["ray"].startswith("2.60")
