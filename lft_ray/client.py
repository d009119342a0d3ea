"""Typed clients of an endpoint, blocking and async, with retries.

In: texts, or pairs of texts. Out: label scores. Or questions with their contexts, and answers. Requests are idempotent,
so they are retried with exponential backoff and jitter when the connection breaks or the server is overloaded. Never
imports more of the package than ``wire``, ``request_bodies``, ``errors`` and ``system.http``.
"""

import asyncio
import json
import math
import random
import time
import uuid
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

import httpx
from pydantic import TypeAdapter, ValidationError

from lft_ray.errors import InputError, LftError, UnreachableError
from lft_ray.request_bodies import Input, Question, bodies, listed
from lft_ray.system.http import make_client
from lft_ray.wire import Info, LabelScore, Predictions, SpanAnswer

__all__ = ["AsyncClient", "Attempt", "Client", "RetryPolicy", "retry_after_s"]

_TRANSIENT = frozenset({408, 429, 502, 503, 504})
"""Statuses of which a repeated request may be spared: overload, restarts, and a body that arrived too slowly."""
_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 5.0
_CONNECTIONS = 8
_INFO: TypeAdapter[Info] = TypeAdapter(Info)

Scores = list[list[LabelScore]]
_SCORES: TypeAdapter[Scores] = TypeAdapter(Scores)
Answers = list[SpanAnswer]
_ANSWERS: TypeAdapter[Answers] = TypeAdapter(Answers)
_LISTS: TypeAdapter[list[Answers]] = TypeAdapter(list[Answers])
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
                problem, server_wait_s = f"{type(result).__name__}: {result}".removesuffix(": "), 0.0
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
    return response.status_code in _TRANSIENT


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
        retries: further attempts when the connection fails or the status is 408, 429, 502, 503 or 504. They wait for
            the time in ``Retry-After`` plus an exponential backoff with full jitter.
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
        self._policy = RetryPolicy(_shown(url), retries, deadline_s)
        self._http: httpx.Client = _connect(httpx.Client, url, api_key, timeout_s)
        self._info: Info | None = None

    def predict(self, texts: Sequence[Input], top_k: int | None = None) -> Scores:
        """Score the labels of each text.

        Args:
            texts: any number of texts; they are split into several requests if the server's limits require it. For a
                model on pairs, tuples of two texts.
            top_k: return only the k best labels of each text; None: all.

        Returns:
            One list of label scores per text, in the order of the texts, best label first.

        Raises:
            InputError: a text is empty or not a str, the model reads pairs and it is none, or the key is wrong.
            UnreachableError: the endpoint cannot be reached, or stays overloaded.
        """
        given = listed(texts, "labels")
        if not given:
            return []
        parts = bodies(given, top_k, self._info or self.info(), "labels")
        return [row for body in parts for row in _rows(_SCORES, self._send("POST", "/", body), body, self._policy.url)]

    @overload
    def answer(self, questions: Sequence[Question], top_k: None = None) -> Answers: ...
    @overload
    def answer(self, questions: Sequence[Question], top_k: int) -> Answers | list[Answers]: ...
    def answer(self, questions: Sequence[Question], top_k: int | None = None) -> Answers | list[Answers]:
        """Answer each question by a piece of its context.

        Args:
            questions: any number of tuples of a question and its context; they are split into several requests if the
                server's limits require it.
            top_k: return the k best answers to each question as a list, best first, or fewer where the context has no
                more; None or 1: the best one.

        Returns:
            One answer per question, in their order: ``context[one.start:one.end] == one.answer``, and an empty one
            where the context has none. With ``top_k`` above 1 one list of answers per question.

        Raises:
            InputError: a question or a context is empty or not a str, the model gives no answers, or the key is wrong.
            UnreachableError: the endpoint cannot be reached, or stays overloaded.
        """
        given = listed(questions, "spans")
        if not given:
            return []
        parts = bodies(given, top_k, self._info or self.info(), "spans")
        kind: TypeAdapter[Any] = _answers_of(top_k)
        return [row for body in parts for row in _rows(kind, self._send("POST", "/", body), body, self._policy.url)]

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
            request = self._http.build_request(method, path, json=body, headers=headers, timeout=timeout)
            try:
                result = self._receive(request, time.monotonic() + attempt.timeout_s)
            except httpx.TransportError as error:
                result = error
            except httpx.DecodingError:
                raise _stranger(self._policy.url) from None

    def _receive(self, request: httpx.Request, ends: float) -> httpx.Response:
        # The timeout of httpx begins anew with every byte, so a response that trickles would never end.
        response = self._http.send(request, stream=True)
        try:
            response.stream = _Until(response.stream, ends, request)
            response.read()
        finally:
            response.close()
        return response


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
        self._policy = RetryPolicy(_shown(url), retries, deadline_s)
        self._http: httpx.AsyncClient = _connect(httpx.AsyncClient, url, api_key, timeout_s)
        self._free = asyncio.Semaphore(connections)
        self._info: Info | None = None

    async def predict(self, texts: Sequence[Input], top_k: int | None = None) -> Scores:
        """Score the labels of each text; several requests are sent concurrently. See `Client.predict`."""
        given = listed(texts, "labels")
        if not given:
            return []
        return await self._rows(_SCORES, bodies(given, top_k, self._info or await self.info(), "labels"))

    @overload
    async def answer(self, questions: Sequence[Question], top_k: None = None) -> Answers: ...
    @overload
    async def answer(self, questions: Sequence[Question], top_k: int) -> Answers | list[Answers]: ...
    async def answer(self, questions: Sequence[Question], top_k: int | None = None) -> Answers | list[Answers]:
        """Answer each question; several requests are sent concurrently. See `Client.answer`."""
        given = listed(questions, "spans")
        if not given:
            return []
        kind: TypeAdapter[Any] = _answers_of(top_k)
        return await self._rows(kind, bodies(given, top_k, self._info or await self.info(), "spans"))

    async def _rows(self, kind: TypeAdapter[list[Parsed]], parts: list[dict[str, Any]]) -> list[Parsed]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._send("POST", "/", body)) for body in parts]
        except* (LftError, RuntimeError) as failures:
            # One error, as of the blocking client; where parts failed in different ways, the one that has a reason.
            raise min(failures.exceptions, key=lambda error: not isinstance(error, LftError)) from None
        pairs = zip(tasks, parts, strict=True)
        return [row for task, body in pairs for row in _rows(kind, task.result(), body, self._policy.url)]

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
                except httpx.DecodingError:
                    raise _stranger(self._policy.url) from None


class _Until(httpx.SyncByteStream):
    """A response's bytes, up to a moment of the monotonic clock."""

    def __init__(self, stream: Any, ends: float, request: httpx.Request) -> None:
        self._stream, self._ends, self._request = stream, ends, request

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            if time.monotonic() > self._ends:
                raise httpx.ReadTimeout("the response did not end in time", request=self._request)
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _answers_of(top_k: int | None) -> TypeAdapter[Any]:
    """The rows that an endpoint returns: one answer alone does not stand in a list."""
    return _ANSWERS if top_k in (None, 1) else _LISTS


def _rows(kind: TypeAdapter[list[Parsed]], response: httpx.Response, body: dict[str, Any], url: str) -> list[Parsed]:
    """The rows of one request: as many as its inputs, or the answers of all that follow would be those of others."""
    rows = _parse(kind, response, url)
    sent = len(body["inputs"])
    if len(rows) != sent:
        raise LftError(f"{url} returned {len(rows)} rows for {sent} texts, so it cannot be told which are whose")
    parts = cast("Predictions", [[row] if isinstance(row, SpanAnswer) else row for row in rows])
    if not all(part and all(math.isfinite(one.score) for one in part) for part in parts):
        raise LftError(f"{url} returned a row without labels, or a score that is not a number")
    return rows


def _stranger(url: str) -> LftError:
    return LftError(f"{url} is not an endpoint of lft_ray: unexpected format of the response")


def _parse(kind: TypeAdapter[Parsed], response: httpx.Response, url: str) -> Parsed:
    try:
        return kind.validate_json(response.content)
    except ValidationError:
        raise _stranger(url) from None


def _shown(url: str | httpx.URL) -> str:
    """A URL for messages, which end up in logs: without a password."""
    scheme, separator, rest = str(url).partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def _connect(kind: Any, url: str, api_key: str | None, timeout_s: float) -> Any:
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError("the API key has a character that no header carries", fix="pass a key of visible ASCII")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        http = make_client(kind, url, base_url=url, headers=headers, timeout=timeout_s)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InputError(f"{_shown(url)!r} is not the address of an endpoint: {error}") from None
    base = http.base_url
    # The system takes a port beyond 65535 for another one, where somebody else may answer.
    is_whole = base.scheme in ("http", "https") and base.host and (base.port is None or 0 < base.port < 65536)
    if not is_whole or base.query or base.fragment:
        raise InputError(f"{_shown(url)!r} is not the address of an endpoint", fix="write it as http://host:port")
    return http


def _raise_for_status(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    if response.has_redirect_location:
        redirect = f"{_shown(response.request.url)} redirects to {_shown(response.headers['location'])}"
        raise InputError(redirect, fix="pass the address that it redirects to")
    text = f"{_shown(response.request.url)} returned {response.status_code}: {_reason(response)}"
    if response.is_client_error:
        raise InputError(text, fix="pass --api-key" if response.status_code == httpx.codes.UNAUTHORIZED else "")
    raise LftError(text)


def _reason(response: httpx.Response) -> str:
    """The reason in an error body: ours, or that of a proxy or gateway in between."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        body = None
    found = [body.get(key) for key in ("error", "message", "detail")] if isinstance(body, dict) else []
    return next((reason for reason in found if isinstance(reason, str) and reason), "no error message in the response")
