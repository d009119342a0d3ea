"""``lft import``: what it prints, and how it fails."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from tests.models.tensorflow.write_checkpoint import FOLDER


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    shutil.copytree(FOLDER, tmp_path / "uncased_tiny")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["import", *arguments])


def test_it_says_what_it_read_and_what_it_left_out(here):
    done = invoke("uncased_tiny")
    assert done.exit_code == 0
    assert done.stdout.startswith("uncased_tiny-hf  BERT, 2 layers, hidden size 8, 121 tokens, 2,712 parameters")
    for words in (
        "do_lower_case: true): the name 'uncased_tiny'",
        "79 variables of the optimizer",
        "7 variables, heads of pre-training or of another task: cls/predictions/output_bias",
        "next: lft search EXPERIMENT.yaml --set 'models=[{base: ./uncased_tiny-hf}]'",
    ):
        assert words in done.stderr


def test_json_and_options(here):
    done = invoke("uncased_tiny/bert_model.ckpt", "--cased", "-o", "a/b", "--json")
    found = json.loads(done.stdout)
    assert (found["folder"], found["do_lower_case"], found["do_lower_case_from"]) == ("a/b", False, "option")
    assert found["skipped"]["optimizer"] == 79
    assert "models=[{base: ./a/b}]" in done.stderr


@pytest.mark.parametrize("arguments", [["nothing"], ["."], ["uncased_tiny", "-o", "uncased_tiny"]])
def test_bad_input_is_exit_code_2(here, arguments):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert "fix: " in done.stderr


def test_an_existing_folder_is_kept(here):
    assert invoke("uncased_tiny").exit_code == 0
    again = invoke("uncased_tiny")
    assert again.exit_code == 2
    assert "uncased_tiny-hf already exists" in again.stderr
    assert invoke("uncased_tiny", "--replace").exit_code == 0
