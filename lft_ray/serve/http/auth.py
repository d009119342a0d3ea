"""API keys of the endpoint (bearer tokens). In: the plain keys, once. Out: yes or no. Stores only their SHA-256."""

import hashlib
import hmac
from collections.abc import Iterable, Sequence

__all__ = ["ApiKeys", "hash_keys"]


def hash_keys(plain: str) -> list[str]:
    """SHA-256 hex digests of comma-separated keys; blank entries are dropped."""
    return [_digest(key.strip()) for key in plain.split(",") if key.strip()]


class ApiKeys:
    """The accepted API keys. Without any, requests are not authenticated.

    Args:
        hashes: SHA-256 hex digests, as returned by `hash_keys`.
    """

    def __init__(self, hashes: Iterable[str] = ()) -> None:
        self._hashes: Sequence[str] = tuple(hashes)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def allow(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header carries one of the keys, in constant time for every wrong key."""
        if not self._hashes:
            return True
        scheme, _, key = authorization.partition(" ")
        digest = _digest(key.strip())
        # All hashes are always compared: the time until a first match would reveal which key it is.
        matches = [hmac.compare_digest(digest, known) for known in self._hashes]
        return scheme.lower() == "bearer" and any(matches)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
