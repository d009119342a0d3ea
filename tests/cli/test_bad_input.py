"""Wrong input ends with exit code 2 and one clear message with the fix, before anything is spent; never a traceback."""

import csv
import os
import subprocess
import sys

import pytest

EXPERIMENT = """
name: bad
data: {{train: {train}}}
models: [{{base: {base}}}]
storage: {storage}
"""

TOPICS = {"sport": "the match was won late", "food": "the soup was served hot"}


def rows(labels=("sport", "food"), n=30):
    return [(f"{TOPICS[label]} item {i}", label) for i in range(n) for label in labels]


def write_csv(path, content, header=("text", "label")):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *content])
    return path


def lft(*args, cwd, **env):
    command = [sys.executable, "-m", "lft_ray", *args]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **env}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def experiment(tmp_path):
    def write(train, base="tfidf", extra=""):
        text = EXPERIMENT.format(train=train, base=base, storage=tmp_path / "runs") + extra
        (tmp_path / "e.yaml").write_text(text, encoding="utf-8")
        return "e.yaml"

    return write


def assert_refused(result, *says):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert "error:" in result.stderr
    for part in says:
        assert part in result.stderr, result.stderr


def test_missing_experiment_file(tmp_path):
    assert_refused(lft("search", "nothing.yaml", cwd=tmp_path), "experiment file not found: nothing.yaml", "lft init")


def test_missing_data_file(tmp_path, experiment):
    assert_refused(lft("search", experiment("absent.csv"), cwd=tmp_path), "absent.csv", "fix:")


def test_missing_label_column(tmp_path, experiment):
    write_csv(tmp_path / "d.csv", rows(), header=("text", "verdict_x"))
    result = lft("search", experiment("d.csv"), cwd=tmp_path)
    assert_refused(result, "verdict_x", "task.label", "fix:")


def test_one_class_only(tmp_path, experiment):
    write_csv(tmp_path / "d.csv", rows(labels=("sport",)))
    assert_refused(lft("search", experiment("d.csv"), cwd=tmp_path), "sport", "fix:")


def test_empty_file(tmp_path, experiment):
    (tmp_path / "d.csv").write_text("")
    assert_refused(lft("search", experiment("d.csv"), cwd=tmp_path), "d.csv", "empty")


def test_unknown_key(tmp_path, experiment):
    write_csv(tmp_path / "d.csv", rows())
    result = lft("search", experiment("d.csv", extra="serch: {trials: 3}\n"), cwd=tmp_path)
    assert_refused(result, "unknown key serch", "Did you mean 'search'?", "lft env --schema")


def test_unknown_model(tmp_path, experiment):
    write_csv(tmp_path / "d.csv", rows())
    result = lft("search", experiment("d.csv", base="minilmm"), cwd=tmp_path)
    assert_refused(result, "minilmm", "Did you mean 'minilm'?")


def test_no_hub(tmp_path, experiment):
    write_csv(tmp_path / "d.csv", rows())
    result = lft("search", experiment("d.csv", base="bert-l2-h128"), cwd=tmp_path, HF_HOME=str(tmp_path / "hf"))
    assert_refused(result, "bert-l2-h128", "hf cache", "hub", "fix:")


def test_no_hub_for_data(tmp_path, experiment):
    result = lft("search", experiment("hub:fancyzhx/ag_news"), cwd=tmp_path, HF_HOME=str(tmp_path / "hf"))
    assert_refused(result, "fancyzhx/ag_news", "fix:")


def test_missing_run(tmp_path):
    for command in (["leaderboard"], ["status"], ["report"], ["export"], ["deploy"], ["down"]):
        assert_refused(lft(*command, "runs/none", cwd=tmp_path), "no run at 'runs/none'")


def test_check_lists_every_problem_and_exits_2(tmp_path, experiment):
    content = [*rows(), ("", "sport"), ("short row",)]
    write_csv(tmp_path / "d.csv", content)
    result = lft("check", experiment("d.csv"), cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "d.csv:63" in result.stdout.replace("\n", "")


def test_an_unknown_policy_is_refused_before_anything_is_spent(tmp_path, experiment):
    experiment(write_csv(tmp_path / "rows.csv", rows()))
    for command in ("check", "plan", "search"):
        result = lft(command, "e.yaml", "--set", "selection.policy=cheapest", cwd=tmp_path)
        assert_refused(result, "unknown value 'cheapest' at selection.policy", "Did you mean 'cheapest_within'?")
    assert not (tmp_path / "runs").exists()
