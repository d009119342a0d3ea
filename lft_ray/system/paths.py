"""Resolve every path that a user gives: ``~``, existing names before patterns, and URIs with a query.

In: text from a command line, an experiment file or an environment variable. Out: paths and URIs. Never creates a file.
"""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from lft_ray.errors import InputError

__all__ = ["is_uri", "joined", "matches", "resolve"]

_MOST_BYTES, _MOST_NAME = 4095, 255
"""Bytes of a path and of each name in it, at most, on Linux and macOS."""
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_uri(text: str) -> bool:
    """Whether the text starts with a scheme such as ``s3://``."""
    return _SCHEME.match(text) is not None


def resolve(text: str | Path) -> Path:
    """Return the path that a user means; relative paths stay relative to the working directory.

    ``~`` and ``~/x`` are in the user's home. ``~name`` is the home of that user only if no file of that name exists,
    and else the file, so that office lock files such as ``~$rows.csv`` can be named.

    Raises:
        InputError: the path starts with ``~`` and there is no home, or the text is too long or has a NUL character.
    """
    given = str(text)
    if "\0" in given:
        raise InputError(f"{given!r} is not a path: it has a NUL character")
    # Python raises OSError for such a path wherever it asks whether the file exists.
    if len(os.fsencode(given)) > _MOST_BYTES or any(len(os.fsencode(part)) > _MOST_NAME for part in given.split("/")):
        shown = f"{given[:60]}..."
        raise InputError(f"{shown!r} is not a path: it is too long ({len(given):,} characters)", fix="shorten it")
    head, slash, rest = given.partition("/")
    if not head.startswith("~"):
        return Path(given)
    if head == "~":
        return Path(_home()) / rest if slash else Path(_home())
    if os.path.lexists(given):
        return Path(given)
    expanded = os.path.expanduser(head)  # noqa: PTH111  (Path.expanduser raises for a name that is no user)
    return Path(given) if expanded == head else Path(expanded) / rest


def matches(text: str) -> list[Path] | None:
    """Return the files that a path or pattern names, sorted; None if it is not a pattern and does not exist.

    An existing file is never a pattern, whatever characters its name has.
    """
    path = resolve(text)
    if path.exists():
        return [path]
    if not glob.has_magic(str(path)):
        return None
    return [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207


def joined(uri: str, parts: Sequence[str]) -> str:
    """Append path segments to a path or URI; the query of a URI (``?region=...``) stays at the end."""
    base, mark, query = uri.partition("?") if is_uri(uri) else (uri, "", "")
    return "/".join([base.rstrip("/"), *parts]) + mark + query


def _home() -> str:
    home = os.path.expanduser("~")  # noqa: PTH111  (without a home, Path.expanduser raises RuntimeError)
    if home == "~":
        raise InputError("a path starts with ~, and this user has no home folder", fix="set HOME, or write it in full")
    return home
