"""Closed pipes, closed descriptors, full disks: real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys, warnings
from lft_ray.errors import LftWarning
from lft_ray.cli.output import guarded, print_json, print_message
from lft_ray.cli.process import run

@guarded
def command():
    for number in range(3):
        print_message(f"step {number}")
        sys.stderr.write("a library\\n")
    print("a library on stdout")
    warnings.warn(LftWarning("stages.json\\x1b is ignored"))
    import os
    os.write(1, b"C++ on stdout\\n")
    with open(sys.argv[1], "w") as stream:
        stream.write("done")
    print_json({"done": True})

run(lambda: command)
"""


@pytest.fixture
def done(tmp_path):
    return tmp_path / "done"


def arguments(done):
    return [sys.executable, "-c", CODE, str(done)]


def closed_pipe():
    """The writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("which", ["stdout", "stderr", "both"])
def test_a_reader_that_goes_away_changes_nothing(done, which):
    pipe = closed_pipe()
    streams = {name: pipe if which in (name, "both") else subprocess.PIPE for name in ("stdout", "stderr")}
    result = subprocess.run(arguments(done), **streams, timeout=60)
    os.close(pipe)
    assert (result.returncode, done.read_text()) == (0, "done")
    assert b"Traceback" not in (result.stderr or b"")


def test_closed_descriptors_change_nothing(done):
    script = 'exec "$@" <&- >&- 2>&-'
    result = subprocess.run(["sh", "-c", script, "sh", *arguments(done)], timeout=60)
    assert (result.returncode, done.read_text()) == (0, "done")


def test_stdout_is_the_data_alone(done):
    result = subprocess.run(arguments(done), capture_output=True, text=True, timeout=60)
    assert json.loads(result.stdout) == {"done": True}
    assert "a library on stdout" in result.stderr
    assert "C++ on stdout" in result.stderr


def test_a_warning_is_one_sentence_without_code(done):
    result = subprocess.run(arguments(done), capture_output=True, text=True, timeout=60)
    assert "warning: stages.json\\x1b is ignored\n" in result.stderr
    assert "LftWarning" not in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_data_that_cannot_be_written_are_an_error(done):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(arguments(done), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == 1
    assert "the output cannot be written" in result.stderr
