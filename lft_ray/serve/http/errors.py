"""Errors of the HTTP API, the API key check and request ids. In: a status and a reason. Out: an exception, a JSON body.

Pure; never echoes the input.
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus

from lft_ray.serve.http.auth import ApiKeys

__all__ = [
    "OPEN_PATHS",
    "REQUEST_ID_PATTERN",
    "HttpError",
    "busy",
    "check_key",
    "error_body",
    "error_type",
    "request_id",
]

OPEN_PATHS = frozenset({"/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready", "/docs", "/ui"})
"""Paths that need no API key: not every health probe can send one, and the two pages have an input field for it."""

REQUEST_ID_PATTERN = "^[A-Za-z0-9._:-]{1,128}$"
"""Request ids that are safe to log and to return; HAProxy drops others before a replica sees them."""
_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)


class HttpError(Exception):
    """A response that is not 2xx.

    Attributes:
        status: HTTP status code.
        message: the reason, for the client.
        headers: additional response headers.
        kind: the ``error_type`` of a protocol that defines its own; empty: the name of the status.
    """

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None, kind: str = "") -> None:
        super().__init__(message)
        self.status = int(status)
        self.message = message
        self.headers = dict(headers or {})
        self.kind = kind


def busy(message: str, *, retry_after_s: int = 1) -> HttpError:
    """503 with Retry-After: the same request may succeed a moment later."""
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, message, headers={"retry-after": str(retry_after_s)})


def error_type(status: int) -> str:
    """Stable name of a status for ``error_type``, such as ``payload_too_large``."""
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return "payload_too_large"  # Python 3.13 renamed the phrase, and clients match on this name.
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def error_body(error: HttpError, request_id: str) -> bytes:
    """The JSON body of an error: `lft_ray.wire.ErrorBody`."""
    kind = error.kind or error_type(error.status)
    return json.dumps({"error": error.message, "error_type": kind, "request_id": request_id}).encode()


def check_key(keys: ApiKeys, method: str, path: str, authorization: Callable[[], str]) -> bool:
    """Authenticate a request.

    Args:
        keys: the accepted API keys.
        method: method of the request; OPTIONS needs no key, because a browser asks without one before it sends it.
        path: path of the request; those in `OPEN_PATHS`, and GET of ``/``, need no key.
        authorization: returns the ``Authorization`` header; called only where there are keys.

    Returns:
        Whether the client may know the version of the model.

    Raises:
        HttpError: 401.
    """
    if not keys or keys.allow(authorization()):
        return True
    is_open = path in OPEN_PATHS or method == "OPTIONS" or (path == "/" and method in ("GET", "HEAD"))
    if not is_open:
        message = "a valid API key is required in the header: Authorization: Bearer KEY"
        raise HttpError(HTTPStatus.UNAUTHORIZED, message, headers={"www-authenticate": "Bearer"})
    return False


def request_id(given: str) -> str:
    """The client's own id if it is safe to log and to return, else a new one."""
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
