"""``lft init`` and ``lft check``."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.config import Experiment


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
