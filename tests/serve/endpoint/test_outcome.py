import pytest

from lft_ray.errors import InputError
from lft_ray.records import Endpoint
from lft_ray.serve.endpoint.outcome import failure_of

ENDPOINT = Endpoint(
    url="http://h:1", version="", process=None, ports={"http": 8000, "grpc": 8001}, state="starting", bundle_uri="b"
)
TRACE = "\x1b[36mray::HAProxyManager\x1b[39m (pid=1)\n  File x.py\nRuntimeError: HAProxy crashed: [ALERT] {}\n"


@pytest.mark.parametrize(
    ("line", "start", "setting"),
    [
        (
            "cannot bind socket (Address already in use) for [127.0.0.1:8000]",
            "cannot bind port 8000 (serve.port): Address already in use",
            "serve.port",
        ),
        (
            "cannot bind socket (Permission denied) for [0.0.0.0:8001]",
            "cannot bind port 8001 (serve.grpc_port): Permission denied",
            "serve.grpc_port",
        ),
        ("cannot bind socket (Address already in use) for [:::8000]", "cannot bind port 8000", "serve.port"),
        ("cannot bind socket (Address already in use) for [0.0.0.0:58035]", "cannot bind port 58035: ", "serve.port"),
        ("OSError: [Errno 98] Address already in use", "cannot bind its port: ", "serve.port"),
    ],
)
def test_a_port_in_use_is_one_sentence_and_bad_input(line, start, setting):
    found = failure_of(RuntimeError(TRACE.format(line)), ENDPOINT)
    assert isinstance(found, InputError)
    assert found.message.startswith(start)
    assert f"--set {setting}=0" in found.fix
    assert "\x1b" not in str(found)
    assert "File" not in str(found)


def test_other_failures_are_their_last_line():
    found = failure_of(RuntimeError("\x1b[31mTraceback\n  File x.py\nValueError: the reason\x1b[0m\n"), ENDPOINT)
    assert (found.message, found.exit_code) == ("RuntimeError: ValueError: the reason", 1)
    assert failure_of(RuntimeError(), ENDPOINT).message == "RuntimeError: RuntimeError"
