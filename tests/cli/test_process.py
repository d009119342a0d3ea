"""Signals to real processes: exit codes, last words, the second signal, what is left in the temporary folder."""

import os
import signal
import subprocess
import sys
import time

import pytest

HEAD = """
import sys, time
from lft_ray.cli.output import guarded
from lft_ray.cli.process import run
from lft_ray.system import signals

def ready():
    sys.stderr.write("ready\\n")
    sys.stderr.flush()

@guarded
def command():
    signals.say_at_end("next: lft search x.yaml --resume")
    BODY

run(lambda: command)
"""
SLEEPS = "ready(); time.sleep(60)"
CLEANS_UP_FOR_EVER = """
    try:
        ready(); time.sleep(60)
    finally:
        time.sleep(60)
"""
IN_A_LIBRARY = """
    import ctypes
    ready()
    ctypes.CDLL(None).sleep(60)
"""
SWALLOWS = """
    ready()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""


def default_signals():
    """Tests may run in the background, where a shell has these ignored."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(body, *, prelude=""):
        process = subprocess.Popen(
            [*prelude.split(), sys.executable, "-c", HEAD.replace("BODY", body.strip())],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            preexec_fn=default_signals,
        )
        started.append(process)
        assert process.stderr.readline() == "ready\n"
        time.sleep(0.1)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


WORDS = "interrupted\nnext: lft search x.yaml --resume\n"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_the_command_in_order(start, tmp_path, name, code):
    process = start(SLEEPS)
    process.send_signal(getattr(signal, name))
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out, said) == (code, "", WORDS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [CLEANS_UP_FOR_EVER, IN_A_LIBRARY, SWALLOWS], ids=["cleans up", "library", "swallows"])
def test_a_second_signal_leaves_at_once_and_leaves_nothing(start, tmp_path, body):
    process = start(body)
    process.send_signal(signal.SIGINT)
    time.sleep(0.4)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, WORDS)
    # Two seconds are promised; the sleeps would last sixty.
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_one_signal_is_enough(start):
    process = start(SWALLOWS)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=40)
    assert (process.returncode, said) == (143, WORDS)


def test_a_signal_that_is_ignored_stays_so(start):
    process = start(SLEEPS, prelude="nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_an_error_behind_the_signal_is_the_signal(start):
    process = start("try:\n        ready(); time.sleep(60)\n    finally:\n        raise ValueError('cut off')")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (143, WORDS)


def test_a_command_whose_cluster_died_leaves_nothing(start, tmp_path):
    body = """
    from lft_ray.cli import runs
    from lft_ray.errors import UnreachableError
    ready()
    runs.leave(UnreachableError("gone"), next_line="lft search x.yaml --resume")
"""
    process = start(body)
    said = process.stderr.read()  # some of it may have been read with the first line
    process.wait(timeout=30)
    assert (process.returncode, said) == (4, "error: gone\nnext: lft search x.yaml --resume\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_imports_has_no_traceback(number):
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "lft_ray", "env"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=default_signals,
    )
    for line in process.stderr:
        if line.endswith(" lft_ray.cli.streams\n"):
            break
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert "interrupted\n" in said
