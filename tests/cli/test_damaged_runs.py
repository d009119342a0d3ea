"""Every kind of file of a run, damaged in every way, under every command that reads it: named, or harmless.

A command ends well, with what it says still true, or with exit code 2 and the name of the file. Never a traceback, and
never a result from a file that is not the one that was written.
"""

import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.errors import LftWarning
from lft_ray.run import files as run_files
from lft_ray.run.checksums import file_sha256, sha256s

SAVED = Path(__file__).parent.parent / "data" / "run_0.2.0"
COMMANDS = ("status", "leaderboard", "report", "export")
CHECKPOINT = "trials/t000/checkpoint"
PREDICTIONS = "trials/t000/predictions/fp32-128.parquet"
BOOKKEEPING = ("stages.json", "environment.json")
"""Never stops a command."""
DERIVED = ("front.json",)
"""Written for people; no command reads it."""
RECORDS = (
    "experiment.yaml",
    "dataset.json",
    "candidates.json",
    "profiles.json",
    "selection.json",
    "bundle.json",
    "trials/t000/record.json",
    "trials/t000/started.json",
)
DATA = (PREDICTIONS, "data/validation.arrow", f"{CHECKPOINT}/linear.safetensors", f"{CHECKPOINT}/engine.json")
SERVED = ("bundle/linear.safetensors", "bundle/manifest.json")


def empty(data: bytes) -> bytes:
    return b""


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def bit(data: bytes) -> bytes:
    place = len(data) // 3
    return data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]


def noise(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes((37 * n + 131) % 256 for n in range(64)) + data[place + 64 :]


DAMAGES = (empty, half, bit, noise)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished run as today's version writes it: the saved one with its checksums."""
    run = tmp_path_factory.mktemp("whole") / "colours"
    shutil.copytree(SAVED, run)
    path = run / "trials/t000/record.json"
    record = json.loads(path.read_text())
    record["checkpoint_uri"], record["checkpoint_sha256"] = CHECKPOINT, sha256s(run / CHECKPOINT)
    record["variants"][0] |= {"predictions_uri": PREDICTIONS, "predictions_sha256": file_sha256(run / PREDICTIONS)}
    path.write_text(json.dumps(record, indent=1))
    dataset = json.loads((run / "dataset.json").read_text())
    for name, split in dataset["splits"].items():
        split |= {"uri": f"data/{name}.arrow", "sha256": file_sha256(run / f"data/{name}.arrow")}
    (run / "dataset.json").write_text(json.dumps(dataset, indent=1))
    return run


@pytest.fixture
def run(whole, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(run_files, "_told", set())
    monkeypatch.setattr(
        os, "fsync", lambda handle: None
    )  # durability is not what is tested, and takes most of the time
    shutil.copytree(whole, tmp_path / "colours")
    return tmp_path / "colours"


def invoke(*args: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LftWarning)
        return CliRunner().invoke(app, list(args))


def check_named(result, name: str) -> None:
    """Exit code 0, or 2 with the name of the file and no talk of a bug; 3 is a run without a selection."""
    assert result.exit_code in (0, 2) or (result.exit_code == 3 and name == "selection.json"), result.output
    assert "bug in lft_ray" not in result.output
    if result.exit_code == 2:
        assert name.rpartition("/")[2] in result.stderr or name.split("/")[0] in result.stderr
        assert "fix:" in result.stderr or "mistake" in result.stderr


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [*BOOKKEEPING, *DERIVED])
def test_bookkeeping_stops_no_command(run, name, damage):
    (run / name).write_bytes(damage((run / name).read_bytes()))
    for command in COMMANDS:
        result = invoke(command, str(run))
        assert result.exit_code == 0, (command, result.output)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [*RECORDS, *DATA])
def test_a_damaged_file_is_named_or_changes_nothing(run, name, damage):
    (run / name).write_bytes(damage((run / name).read_bytes()))
    for command in COMMANDS:
        check_named(invoke(command, str(run)), name)


@pytest.mark.parametrize("name", [*RECORDS, *DATA])
def test_a_missing_file_is_named_or_changes_nothing(run, name):
    (run / name).unlink()
    for command in COMMANDS:
        check_named(invoke(command, str(run)), name)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", DATA)
def test_no_bundle_is_made_from_a_file_that_was_changed(run, name, damage):
    (run / name).write_bytes(damage((run / name).read_bytes()))
    before = (run / "bundle.json").read_bytes()
    result = invoke("export", str(run))
    assert result.exit_code == 2
    assert name in result.stderr
    assert "sha256" in result.stderr
    assert (run / "bundle.json").read_bytes() == before
    assert not list(run.glob(".bundle-candidate*")) and not (run / "bundle-candidate").exists()  # noqa: PT018


@pytest.mark.parametrize("value", ["9.9", "NaN", "Infinity", "1e999", "-2", "null", '"0.9"x'])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_impossible_score_is_refused(run, command, value):
    path = run / "trials/t000/record.json"
    path.write_text(path.read_text().replace('"f1": 0.9135618479880775', f'"f1": {value}'))
    result = invoke(command, str(run))
    assert (result.exit_code, "record.json" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_winner_without_a_record_is_refused(run, command):
    shutil.rmtree(run / "trials/t000")
    result = invoke(command, str(run))
    assert result.exit_code == 2
    assert "t000" in result.stderr or "no finished trial" in result.stderr


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", SERVED)
def test_a_damaged_bundle_is_not_read(run, name, damage, tmp_path):
    invoke("export", str(run))
    (run / name).write_bytes(damage((run / name).read_bytes()))
    (tmp_path / "in.csv").write_text("text\nbrick today\n")
    result = invoke("predict", str(run), "--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.parquet"))
    # A damaged manifest no longer is the bundle of the record, so the winner is exported again.
    assert result.exit_code == (2 if "manifest" not in name else 0), result.output
    assert "bug in lft_ray" not in result.output


def edited(run, name: str, **changes) -> None:
    value = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps({**value, **changes}))


CONTRADICTIONS = {
    "a label twice": ("dataset.json", {"labels": ["red", "red"]}, "is there twice"),
    "a label of no data": ("dataset.json", {"labels": ["rad"]}, "which is not one of the labels"),
    "no train": ("dataset.json", {"splits": {}}, "the split 'train' is missing"),
    "no label score": ("selection.json", {"per_label": [{"x": 1}]}, "per_label.0: label is missing"),
    "a word as a score": (
        "selection.json",
        {"per_label": [{"label": "a", "precision": "x", "recall": 1, "f1": 1, "support": 1}]},
        "per_label.0: precision is 'x', which is no number",
    ),
    "the decision of another run": ("selection.json", {"checkpoint_f1": 0.123}, "does not belong to"),
}


@pytest.mark.parametrize("command", ["report", "export"])
@pytest.mark.parametrize(("name", "changes", "problem"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_file_that_contradicts_itself_or_another_is_refused(run, command, name, changes, problem):
    edited(run, name, **changes)
    result = invoke(command, str(run))
    assert result.exit_code == 2, result.output
    assert name in result.stderr
    assert problem in result.stderr
