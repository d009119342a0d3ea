import os
import subprocess
import sys

import pytest

from lft_ray.config import ServeSpec
from lft_ray.errors import InputError
from lft_ray.serve.endpoint.checks import check_address
from lft_ray.serve.endpoint.keys import hashed_keys, without_keys
from lft_ray.serve.http.auth import hash_keys

SPEC = ServeSpec(host="0.0.0.0", port=0)


def test_keys_come_from_the_variable_or_from_a_file(monkeypatch, tmp_path):
    monkeypatch.delenv("LFT_API_KEYS", raising=False)
    assert hashed_keys(SPEC) == ()
    (tmp_path / "keys").write_text("one\ntwo,three\n")
    monkeypatch.setenv("LFT_API_KEYS_FILE", str(tmp_path / "keys"))
    assert hashed_keys(SPEC) == tuple(hash_keys("one,two,three"))
    check_address(SPEC)
    monkeypatch.setenv("LFT_API_KEYS", "four, four")
    assert hashed_keys(SPEC) == tuple(hash_keys("four"))


@pytest.mark.parametrize("content", [None, b"", b" \n,\n", b"\xff\xfe"])
def test_a_file_without_keys_is_refused(monkeypatch, tmp_path, content):
    monkeypatch.delenv("LFT_API_KEYS", raising=False)
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    monkeypatch.setenv("LFT_API_KEYS_FILE", str(tmp_path / "keys"))
    with pytest.raises(InputError, match="LFT_API_KEYS_FILE="):
        check_address(SPEC)


def test_an_environment_without_keys_has_everything_else(monkeypatch):
    monkeypatch.setenv("LFT_API_KEYS", "one,two")
    given = {"LFT_API_KEYS": "one,two", "LFT_API_KEY": "x", "CI_SECRET": "two", "LIST": "a, one", "PATH": "/bin"}
    assert without_keys(given, SPEC) == {"PATH": "/bin"}
    assert without_keys(given, ServeSpec(api_keys_env="CI_SECRET")) == {
        "LFT_API_KEYS": "one,two",
        "LIST": "a, one",
        "PATH": "/bin",
    }


FORGET = """
import os
from lft_ray.config import ServeSpec
from lft_ray.serve.endpoint.keys import forget_keys, hashed_keys
assert hashed_keys(ServeSpec())
forget_keys(ServeSpec())
assert not hashed_keys(ServeSpec()) and os.environ["KEPT"] == "kept"
block = open("/proc/self/environ", "rb").read()
print(b"a-secret" in block, b"KEPT=kept" in block)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_forgets_its_keys_in_the_kernels_copy_too():
    environment = os.environ | {"LFT_API_KEYS": "a-secret,b", "OTHER": "a-secret", "KEPT": "kept"}
    done = subprocess.run([sys.executable, "-c", FORGET], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False True\n", "")


@pytest.mark.parametrize("key", ["schlüssel", "one,zw\u00a0ei", "one\x01"])
def test_a_key_that_no_client_can_send_is_refused_without_showing_it(monkeypatch, key):
    monkeypatch.setenv("LFT_API_KEYS", key)
    with pytest.raises(InputError, match="no header carries") as raised:
        hashed_keys(SPEC)
    assert key not in str(raised.value)
