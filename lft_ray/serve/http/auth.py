"""Bearer keys of the endpoint. In: the plain keys, once. Out: yes or no. Keeps only their sha256."""

import hashlib
import hmac
from collections.abc import Iterable, Sequence

__all__ = ["ApiKeys", "hash_keys"]


def hash_keys(plain: str) -> list[str]:
    """Return the sha256 hex digests of comma-separated keys; blanks are dropped."""
    return [_digest(key.strip()) for key in plain.split(",") if key.strip()]


class ApiKeys:
    """The keys that are let in. With none, everybody is.

    Args:
        hashes: sha256 hex digests, as `hash_keys` makes them.
    """

    def __init__(self, hashes: Iterable[str] = ()) -> None:
        self._hashes: Sequence[str] = tuple(hashes)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def allow(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header carries one of the keys. Takes equally long for every wrong key."""
        if not self._hashes:
            return True
        scheme, _, key = authorization.partition(" ")
        digest = _digest(key.strip())
        # All hashes are compared, always: stopping at the first match would tell which key it is by time.
        matches = [hmac.compare_digest(digest, known) for known in self._hashes]
        return scheme.lower() == "bearer" and any(matches)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
