"""What may pass: request ids, keys, and one shape for every refusal. Pure; never echoes the input."""

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
"""Answered without a key: probes cannot send one everywhere, and the two pages hold nothing but a field for it."""

REQUEST_ID_PATTERN = "^[A-Za-z0-9._:-]{1,128}$"
"""Ids that are safe to log and to send back; HAProxy drops others before a replica sees them."""
_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)


class HttpError(Exception):
    """An answer that is not 2xx, with the reason for the client.

    Attributes:
        kind: the ``error_type`` of a protocol that has its own; empty: the status' own name.
    """

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None, kind: str = "") -> None:
        super().__init__(message)
        self.status = int(status)
        self.message = message
        self.headers = dict(headers or {})
        self.kind = kind


def busy(message: str, *, retry_after_s: int = 1) -> HttpError:
    """503: the same request may be answered a moment later."""
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, message, headers={"retry-after": str(retry_after_s)})


def error_type(status: int) -> str:
    """A stable name for a status, such as ``payload_too_large``."""
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return "payload_too_large"  # Python 3.13 renamed the phrase, and clients match on this name.
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def error_body(refusal: HttpError, request_id: str) -> bytes:
    """JSON of `lft_ray.wire.ErrorBody`."""
    kind = refusal.kind or error_type(refusal.status)
    return json.dumps({"error": refusal.message, "error_type": kind, "request_id": request_id}).encode()


def check_key(keys: ApiKeys, path: str, authorization: Callable[[], str]) -> None:
    """Let a request pass or not.

    Raises:
        Refusal: 401.
    """
    if keys and path not in OPEN_PATHS and not keys.allow(authorization()):
        message = "a valid bearer key is needed in the Authorization header"
        raise HttpError(HTTPStatus.UNAUTHORIZED, message, headers={"www-authenticate": "Bearer"})


def request_id(given: str) -> str:
    """The client's own id where it is safe to log and to send back, else a new one."""
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
