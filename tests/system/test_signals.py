"""The owner of the signals, in processes of their own."""

import subprocess
import sys

import pytest

IN_CALLBACK = """
import os, signal, sys, time, weakref
from lft_ray.system import signals
signals.own()
class Thing:
    pass
def callback(_):
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(10_000):
        pass
thing = Thing()
reference = weakref.ref(thing, callback)
try:
    del thing
    time.sleep(30)
except signals.Interrupted as error:
    print("raised", error.number, flush=True)
    sys.exit(error.exit_code)
"""


def test_a_signal_that_arrives_where_nothing_propagates_is_raised_again():
    ended = subprocess.run([sys.executable, "-c", IN_CALLBACK], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "raised 15\n", "")


@pytest.mark.parametrize("where", ["__del__", "callback"])
def test_other_ignored_exceptions_are_shown_as_before(where):
    code = "from lft_ray.system import signals\nsignals.own()\n"
    code += "class Thing:\n    pass\nimport weakref\nthing = Thing()\n"
    code += {
        "__del__": "Thing.__del__ = lambda self: 1 / 0\n",
        "callback": "reference = weakref.ref(thing, lambda _: 1 / 0)\n",
    }[where]
    code += "del thing\n"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0
    assert "ZeroDivisionError" in ended.stderr
