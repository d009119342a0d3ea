"""Paths in the records of a run: stored relative to the run folder, read as URIs inside the folder they were read from.

In: the URI of a run folder, a path in one of its records. Out: the URI of that file in this folder, or its path in the
folder. A run that was moved, copied or downloaded therefore reads its own files. Records of 0.2.0 and earlier contain
absolute paths; those are read by their place in the layout of a run folder. Never touches a file.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer, SerializationInfo, ValidationInfo

__all__ = ["RunUri", "in_folder", "place_of", "uri_of"]

_LAYOUT = re.compile(
    r"(?:^|/)(?P<place>data/[^/]+\.arrow"
    r"|trials/[a-z]+\d+/(?:checkpoint|predictions)(?:-\d+)?(?:/[^/]+)?"
    r"|exports/[a-z]+\d+|bundle|cascade)$"
)
"""Places that records name: splits, checkpoints, predictions and bundles. Anchored at the end, so that a run below a
folder called ``data`` or ``trials`` is read right."""
_FOLDER = "run_folder"


def in_folder(uri: str) -> dict[str, str]:
    """Return pydantic's context for records that are read from or written to the run folder at ``uri``."""
    return {_FOLDER: uri}


def place_of(folder: str, uri: str) -> str:
    """Return the path inside a run folder of what a record of that folder names.

    Args:
        folder: URI of the run folder.
        uri: path relative to it, URI inside it, or the absolute path that the folder had when the record was written.

    Raises:
        ValueError: the path leaves the folder.
    """
    inside = f"{folder.rstrip('/')}/"
    if uri.startswith(inside):
        place = uri.removeprefix(inside)
    elif uri.startswith("/") or "://" in uri:
        found = _LAYOUT.search(uri)
        if found is None:
            raise ValueError(f"{uri!r} is not a place in a run folder")
        place = found["place"]
    else:
        place = uri
    if ".." in place.split("/"):
        raise ValueError(f"{uri!r} leaves the run folder")
    return place


def uri_of(folder: str, uri: str) -> str:
    """Return the URI, in this run folder, of what one of its records names; see `place_of`."""
    return f"{folder.rstrip('/')}/{place_of(folder, uri)}"


def _opened(value: str, info: ValidationInfo) -> str:
    folder = (info.context or {}).get(_FOLDER)
    return uri_of(folder, value) if folder and value else value


def _stored(value: str, info: SerializationInfo) -> str:
    folder = (info.context or {}).get(_FOLDER)
    return value.removeprefix(f"{folder.rstrip('/')}/") if folder else value


RunUri = Annotated[str, AfterValidator(_opened), PlainSerializer(_stored)]
"""URI of a file or folder of a run; empty: none. Relative to the run folder on disk, absolute in memory."""
