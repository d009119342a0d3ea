"""Typed clients of an endpoint, blocking and async, with retries.

In: texts. Out: label scores. Requests are idempotent, so they are retried with exponential backoff and jitter when the
connection breaks or the server is overloaded. Never imports more of the package than ``wire``, ``errors`` and
``system.http``.
"""

import asyncio
import json
import random
import time
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from lft_ray.errors import InputError, LftError, UnreachableError
from lft_ray.system.http import make_client
from lft_ray.wire import ErrorBody, Info, LabelScore, Predictions

__all__ = ["AsyncClient", "Attempt", "Client", "RetryPolicy", "retry_after_s"]

_OVERLOADED = frozenset({429, 502, 503, 504})
_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 5.0
_ENVELOPE_BYTES = 256
"""Bytes reserved for the JSON around the texts of one request."""
_CONNECTIONS = 8
_PREDICTIONS: TypeAdapter[Predictions] = TypeAdapter(Predictions)
_INFO: TypeAdapter[Info] = TypeAdapter(Info)

Scores = list[list[LabelScore]]
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a request: wait first, then send with this timeout."""

    wait_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed request is retried; shared by both clients. Sends nothing itself.

    Attributes:
        url: address of the endpoint, for the error message.
        retries: maximum number of attempts after the first.
        deadline_s: seconds for one request with all its attempts and waits.
    """

    url: str
    retries: int
    deadline_s: float

    def attempts(self) -> Generator[Attempt, httpx.Response | Exception | None, httpx.Response]:
        """Yield the next attempt, receive its outcome, and return the first response that is not retried.

        Raises:
            UnreachableError: no attempts or no time are left.
        """
        ends = time.monotonic() + self.deadline_s
        wait_s, problem, tries = 0.0, "", 0
        for attempt in range(self.retries + 1):
            left_s = ends - time.monotonic() - wait_s
            if left_s <= 0.0:
                problem += f", and the deadline of {self.deadline_s:g} s leaves no time for another attempt"
                break
            result = yield Attempt(wait_s, left_s)
            tries += 1
            if isinstance(result, httpx.Response):
                if not _is_retryable(result):
                    return result
                problem, server_wait_s = f"HTTP {result.status_code}", retry_after_s(result)
            else:
                problem, server_wait_s = f"{type(result).__name__}: {result}", 0.0
            # Full jitter, so that clients that were disconnected together do not reconnect at the same moment.
            wait_s = server_wait_s + random.uniform(0.0, min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2**attempt))
        raise UnreachableError(
            f"{self.url} is unreachable: {problem} ({tries} {'attempt' if tries == 1 else 'attempts'})",
            fix="`lft deploy RUN` starts an endpoint; GET /health and /ready report its state",
        )


def _is_retryable(response: httpx.Response) -> bool:
    # Ray's proxy returns 500 as plain text when a replica dies during a request; a retry reaches another replica. The
    # endpoint's own 500 is JSON, and a retry would fail in the same way.
    if response.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
        return not response.headers.get("content-type", "").startswith("application/json")
    return response.status_code in _OVERLOADED


def retry_after_s(response: httpx.Response) -> float:
    """Seconds that ``Retry-After`` asks to wait; RFC 9110 allows a number or a date. 0 without the header."""
    value = response.headers.get("retry-after", "")
    if value.isdecimal():
        return float(value)
    try:
        due = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (due.replace(tzinfo=due.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


class Client:
    """Blocking client of one endpoint. Use it as a context manager, or call `close`.

    Args:
        url: address of the endpoint, such as ``http://127.0.0.1:8000``.
        api_key: bearer key, if the endpoint requires one.
        timeout_s: seconds without a received byte after which one attempt of a request fails.
        retries: further attempts when the connection fails or the status is 429, 502, 503 or 504. They wait for the
            time in ``Retry-After`` plus an exponential backoff with full jitter.
        deadline_s: seconds for one request with all its attempts and waits.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 4,
        deadline_s: float = 120.0,
    ) -> None:
        self._policy = RetryPolicy(url, retries, deadline_s)
        self._http: httpx.Client = _connect(httpx.Client, url, api_key, timeout_s)
        self._info: Info | None = None

    def predict(self, texts: Sequence[str], top_k: int | None = None) -> Scores:
        """Score the labels of each text.

        Args:
            texts: any number of texts; they are split into several requests if the server's limits require it.
            top_k: return only the k best labels of each text; None: all.

        Returns:
            One list of label scores per text, in the order of the texts, best label first.

        Raises:
            InputError: a text is empty or not a str, or the key is wrong.
            UnreachableError: the endpoint cannot be reached, or stays overloaded.
        """
        if not _has_texts(texts):
            return []
        responses = (self._send("POST", "/", body) for body in _bodies(texts, top_k, self._info or self.info()))
        return [scores for response in responses for scores in _parse(_PREDICTIONS, response, self._policy.url)]

    def info(self) -> Info:
        """Fetch the served model and the limits of the server."""
        self._info = _parse(_INFO, self._send("GET", "/info"), self._policy.url)
        return self._info

    def health(self) -> bool:
        """Whether the endpoint is ready to serve predictions. Never raises and never retries."""
        try:
            return self._http.get("/ready").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, method: str, path: str, body: object = None) -> httpx.Response:
        attempts = self._policy.attempts()
        result: httpx.Response | Exception | None = None
        headers = {"x-request-id": uuid.uuid4().hex}
        while True:
            try:
                attempt = attempts.send(result)
            except StopIteration as done:
                return _raise_for_status(done.value)
            time.sleep(attempt.wait_s)
            timeout = httpx.Timeout(min(attempt.timeout_s, self._http.timeout.read or attempt.timeout_s))
            try:
                result = self._http.request(method, path, json=body, headers=headers, timeout=timeout)
            except httpx.TransportError as error:
                result = error


class AsyncClient:
    """Async client of one endpoint. Use it as an async context manager, or await `close`.

    Args:
        url: see `Client`.
        api_key: see `Client`.
        timeout_s: see `Client`.
        retries: see `Client`.
        deadline_s: see `Client`.
        connections: maximum number of requests in flight.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 4,
        deadline_s: float = 120.0,
        connections: int = _CONNECTIONS,
    ) -> None:
        self._policy = RetryPolicy(url, retries, deadline_s)
        self._http: httpx.AsyncClient = _connect(httpx.AsyncClient, url, api_key, timeout_s)
        self._free = asyncio.Semaphore(connections)
        self._info: Info | None = None

    async def predict(self, texts: Sequence[str], top_k: int | None = None) -> Scores:
        """Score the labels of each text; several requests are sent concurrently. See `Client.predict`."""
        if not _has_texts(texts):
            return []
        bodies = _bodies(texts, top_k, self._info or await self.info())
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._send("POST", "/", body)) for body in bodies]
        except* LftError as failures:
            raise failures.exceptions[0] from None
        return [scores for task in tasks for scores in _parse(_PREDICTIONS, task.result(), self._policy.url)]

    async def info(self) -> Info:
        """Fetch the served model and the limits of the server."""
        self._info = _parse(_INFO, await self._send("GET", "/info"), self._policy.url)
        return self._info

    async def health(self) -> bool:
        """Whether the endpoint is ready to serve predictions. Never raises and never retries."""
        try:
            return (await self._http.get("/ready")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, method: str, path: str, body: object = None) -> httpx.Response:
        result: httpx.Response | Exception | None = None
        headers = {"x-request-id": uuid.uuid4().hex}
        async with self._free:
            attempts = self._policy.attempts()
            while True:
                try:
                    attempt = attempts.send(result)
                except StopIteration as done:
                    return _raise_for_status(done.value)
                await asyncio.sleep(attempt.wait_s)
                try:
                    async with asyncio.timeout(attempt.timeout_s):
                        result = await self._http.request(method, path, json=body, headers=headers)
                except (httpx.TransportError, TimeoutError) as error:
                    result = error


def _parse(kind: TypeAdapter[Parsed], response: httpx.Response, url: str) -> Parsed:
    try:
        return kind.validate_json(response.content)
    except ValidationError:
        raise LftError(f"{url} is not a text classification endpoint: unexpected format of the response") from None


def _connect(kind: Any, url: str, api_key: str | None, timeout_s: float) -> Any:
    headers = {"authorization": f"Bearer {api_key.strip()}"} if api_key else {}
    try:
        http = make_client(kind, url, base_url=url, headers=headers, timeout=timeout_s)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InputError(f"{url!r} is not the address of an endpoint: {error}") from None
    if http.base_url.scheme not in ("http", "https") or not http.base_url.host:
        raise InputError(f"{url!r} is not the address of an endpoint", fix="write it as http://host:port")
    return http


def _raise_for_status(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    try:
        message = ErrorBody.model_validate_json(response.content).error
    except ValidationError:
        message = "no error message in the response"
    text = f"{response.request.url} returned {response.status_code}: {message}"
    if response.is_client_error:
        raise InputError(text, fix="pass --api-key" if response.status_code == httpx.codes.UNAUTHORIZED else "")
    raise LftError(text)


def _has_texts(texts: Sequence[str]) -> bool:
    # A str is a sequence of str: without this check each character would be classified as a text.
    if isinstance(texts, str):
        raise InputError("predict expects a list of texts, got a single str", fix="predict([text])")
    return len(texts) > 0


def _bodies(texts: Sequence[str], top_k: int | None, info: Info) -> list[dict[str, Any]]:
    parameters = {"parameters": {"top_k": top_k}} if top_k is not None else {}
    parts: list[list[str]] = [[]]
    size = 0
    for number, text in enumerate(texts):
        length = _json_bytes(number, text) + 1
        if parts[-1] and (len(parts[-1]) == info.max_batch or size + length > info.max_body_bytes - _ENVELOPE_BYTES):
            parts.append([])
            size = 0
        parts[-1].append(text)
        size += length
    return [{"inputs": part} | parameters for part in parts]


def _json_bytes(number: int, text: str) -> int:
    if not isinstance(text, str):
        raise InputError(f"text {number} is a {type(text).__name__}, not a str")
    try:
        return len(json.dumps(text, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise InputError(f"text {number} contains an unpaired surrogate, which is not valid Unicode") from None
