"""API keys of an endpoint, from the environment or a file, as hashes only.

In: `ServeSpec` and this process's environment. Out: SHA-256 digests, and an environment without the keys for the
processes of an endpoint: what a process was started with stays readable in ``/proc/PID/environ`` for its life.
"""

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

from lft_ray.config import ServeSpec
from lft_ray.errors import InputError
from lft_ray.serve.http.auth import hash_keys

__all__ = ["CLIENT_KEY", "forget_keys", "hashed_keys", "without_keys"]

CLIENT_KEY = "LFT_API_KEY"
"""Variable with the key that ``lft predict`` sends; an endpoint never needs it."""


def hashed_keys(spec: ServeSpec) -> tuple[str, ...]:
    """Digests of the keys in ``serve.api_keys_env``, or in the file that ``<api_keys_env>_FILE`` names.

    Raises:
        InputError: the file cannot be read or holds no key, or a key cannot stand in a header.
    """
    if any(not (key.strip().isascii() and key.strip().isprintable()) for key in _plain(spec).split(",")):
        raise InputError(
            f"a key in {spec.api_keys_env} or its file has a character that no header carries",
            fix="use keys of visible ASCII characters, such as `openssl rand -hex 32` makes",
        )
    return tuple(dict.fromkeys(hash_keys(_plain(spec))))


def without_keys(environment: Mapping[str, str], spec: ServeSpec) -> dict[str, str]:
    """A copy of the environment without the variables that hold keys, under whatever name."""
    secrets = {key.strip() for key in _plain(spec).split(",") if key.strip()}
    names = {spec.api_keys_env, CLIENT_KEY}
    return {
        name: value
        for name, value in environment.items()
        if name not in names and not secrets & {part.strip() for part in value.split(",")}
    }


def forget_keys(spec: ServeSpec) -> None:
    """Remove the keys from this process's environment and overwrite the kernel's copy of it."""
    kept = without_keys(os.environ, spec)
    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    for name in set(os.environ) - set(kept):
        # Removing a variable leaves its text in the memory that /proc/PID/environ shows.
        address = library.getenv(os.fsencode(name))
        if address:
            ctypes.memset(address, ord("x"), len(ctypes.string_at(address)))
        del os.environ[name]


def _plain(spec: ServeSpec) -> str:
    given = os.environ.get(spec.api_keys_env, "")
    name = f"{spec.api_keys_env}_FILE"
    path = os.environ.get(name, "")
    if given.strip(" ,") or not path:
        return given
    try:
        lines = Path(path).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}={path} cannot be read: {error}", fix="one key per line, or comma-separated") from None
    if not "".join(lines).strip(","):
        raise InputError(f"{name}={path} holds no API key", fix="one key per line, or comma-separated")
    return ",".join(lines)
