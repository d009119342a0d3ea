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
