"""``lft init`` and ``lft check``."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.config import Experiment
from lft_ray.system.paths import matches


@pytest.fixture
def invoke():
    return lambda *args: CliRunner().invoke(app, list(args))


def test_init_then_check(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Path("tickets.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["body", "topic"])
        writer.writerows(
            (f"please help with {topic} number {i}", topic) for i in range(40) for topic in ("billing", "login")
        )
    result = invoke("init", "tickets.csv")
    assert result.exit_code == 0, result.output
    assert Experiment.load("tickets.yaml").training.method == ["full", "linear_probe"]
    checked = invoke("check", "tickets.yaml", "--json")
    assert checked.exit_code == 0, checked.output
    card = json.loads(checked.stdout)
    assert (card["text_column"], card["label_column"]) == ("body", "topic")
    assert invoke("init", "tickets.csv").exit_code == 2


def test_init_leaves_an_existing_file_alone(invoke, tmp_path):
    target = tmp_path / "mine.yaml"
    target.write_text("name: mine\n")
    result = invoke("init", str(tmp_path / "rows.csv"), "--output", str(target))
    assert result.exit_code == 2
    assert "already exists" in result.stderr
    assert target.read_text() == "name: mine\n"


@pytest.mark.parametrize(
    ("file", "text", "label"),
    [
        ("2024-01-15.csv", "text: body", "label"),
        ("no.csv", "text #1", "label, final"),
        ("1e3.csv", "text", "no"),
        ("[final] rows.csv", "{text}", "label's"),
        ("~$größe #2.csv", "text", "1"),
        ("*.csv", "@text", "- label"),
    ],
)
def test_init_writes_what_check_reads_whatever_the_names(invoke, tmp_path, monkeypatch, file, text, label):
    monkeypatch.chdir(tmp_path)
    with Path(file).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([(text, label), *((f"please help with {i}", "xy"[i % 2]) for i in range(60))])
    result = invoke("init", "--output", "x.yaml", "--", file)
    assert result.exit_code == 0, result.output
    found = Experiment.load("x.yaml")
    assert (found.task.text, found.task.label, found.data.train) == (text, label, file)
    assert matches(file) == [Path(file)]


def test_what_is_ambiguous_is_named_with_its_option(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Path("x.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = [(f"please help with {i}", "xy"[i % 2], "uv"[i % 3 > 0]) for i in range(60)]
        csv.writer(stream).writerows([("note", "team", "city"), *rows])
    result = invoke("init", "x.csv")
    assert result.exit_code == 2
    assert all(word in result.stderr for word in ("'team'", "'city'", "--label"))
    assert not Path("x.yaml").exists()
    assert invoke("init", "x.csv", "--label", "city", "--name", "Towns").exit_code == 0
    assert Experiment.load("towns.yaml").task.label == "city"


def test_a_language_that_the_base_does_not_know_is_said_loudly(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Path("zh.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = [("体验巅峰十大创新概览" * 3 + str(i), "xy"[i % 2]) for i in range(80)]
        csv.writer(stream).writerows([("text", "label"), *rows])
    result = invoke("init", "zh.csv")
    assert result.exit_code == 0, result.output
    checked = invoke("check", "zh.yaml", "--json")
    assert checked.exit_code == 0, checked.output
    card = json.loads(checked.stdout)
    if not card["tokens"]:
        pytest.skip("minilm is not on this machine")
    [fit] = card["tokens"]
    assert fit["unknown_share"] > 0.05
    assert fit["unknown_example"]
    assert "unknown_tokens" in {problem["code"] for problem in card["problems"]}
    assert "warning: base minilm does not know" in result.stderr
