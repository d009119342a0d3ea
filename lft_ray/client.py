"""A typed client of an endpoint, blocking and async. In: texts. Out: label scores. Sees only ``wire`` and ``errors``.

Requests change nothing at the server, so they are repeated when the connection breaks or the server is busy.
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
from lft_ray.wire import ErrorBody, Info, LabelScore, Predictions

__all__ = ["AsyncClient", "Client", "Step", "Tries", "retry_after_s"]

_BUSY = frozenset({429, 502, 503, 504})
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """Wait, then try for as long as is left."""

    wait_s: float
    left_s: float


@dataclass(frozen=True, slots=True)
class Tries:
    """When one request is tried again: what both clients share. Sends nothing itself.

    Attributes:
        url: of the endpoint, for the error.
        retries: tries after the first.
        deadline_s: seconds for one request with all its tries and waits.
    """

    url: str
    retries: int
    deadline_s: float

    def steps(self) -> Generator[Step, httpx.Response | Exception | None, httpx.Response]:
        """Yields the next try, takes what came of it, returns an answer that is not worth another try.

        Raises:
            UnreachableError: no try and no time are left.
        """
        ends = time.monotonic() + self.deadline_s
        wait_s, problem, tries = 0.0, "", 0
        for attempt in range(self.retries + 1):
            left_s = ends - time.monotonic() - wait_s
            if left_s <= 0.0:
                problem += f", and {self.deadline_s:g} s allow no further one"
                break
            result = yield Step(wait_s, left_s)
            tries += 1
            if isinstance(result, httpx.Response):
                if not _may_be_repeated(result):
                    return result
                problem, asked_s = f"HTTP {result.status_code}", retry_after_s(result)
            else:
                problem, asked_s = f"{type(result).__name__}: {result}", 0.0
            # Full jitter: clients that were cut off together do not come back together.
            wait_s = asked_s + random.uniform(0.0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt))
        raise UnreachableError(
            f"{self.url} does not answer: {problem}, {tries} {'try' if tries == 1 else 'tries'}",
            fix="`lft deploy RUN` starts an endpoint; GET /health and /ready tell how it is",
        )


def _may_be_repeated(response: httpx.Response) -> bool:
    # Ray's proxy says 500 in plain text when a replica dies under a request; our own 500 is JSON and would come again.
    is_ours = response.headers.get("content-type", "").startswith("application/json")
    return response.status_code in _BUSY or (response.status_code == httpx.codes.INTERNAL_SERVER_ERROR and not is_ours)


def retry_after_s(response: httpx.Response) -> float:
    """Seconds, or a date, as RFC 9110 has both."""
    value = response.headers.get("retry-after", "")
    if value.isdigit():
        return float(value)
    try:
        due = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (due.replace(tzinfo=due.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


_ENVELOPE_BYTES = 256
"""Room for what stands around the texts of one request."""
_CONNECTIONS = 8
_ANSWER: TypeAdapter[Predictions] = TypeAdapter(Predictions)
_INFO: TypeAdapter[Info] = TypeAdapter(Info)

Scores = list[list[LabelScore]]
Read = TypeVar("Read")


class Client:
    """Asks one endpoint, and blocks meanwhile. Use it as a context manager, or call `close`.

    Args:
        url: address of the endpoint, such as ``http://127.0.0.1:8000``.
        api_key: bearer key, if the endpoint wants one.
        timeout_s: seconds without a byte after which one try of one request is given up.
        retries: further tries when nobody answers, the connection breaks, or the answer is 429, 502, 503 or 504. They
            wait for what ``Retry-After`` says, and for twice as long each time, times a random number.
        deadline_s: seconds for one request with all its tries and waits.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = 4,
        deadline_s: float = 120.0,
    ) -> None:
        self._tries = Tries(url, retries, deadline_s)
        self._http: httpx.Client = _opened(httpx.Client, url, api_key, timeout_s)
        self._info: Info | None = None

    def predict(self, texts: Sequence[str], top_k: int | None = None) -> Scores:
        """Score the labels of each text.

        Args:
            texts: any number; they are sent in as many requests as the server's limits ask for.
            top_k: only the best k labels of each text.

        Returns:
            One list a text, in order, best label first.

        Raises:
            InputError: a text is empty or not text, or the key is wrong.
            UnreachableError: nobody answers, or the server stays busy.
        """
        if not _some(texts):
            return []
        bodies = _bodies(texts, top_k, self._info or self.info())
        return [scores for body in bodies for scores in _read(_ANSWER, self._ask("POST", "/", body), self._tries.url)]

    def info(self) -> Info:
        """The model that answers now, and the server's limits."""
        self._info = _read(_INFO, self._ask("GET", "/info"), self._tries.url)
        return self._info

    def health(self) -> bool:
        """Whether a model is ready to answer. Never raises and never tries twice."""
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

    def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        steps = self._tries.steps()
        result: httpx.Response | Exception | None = None
        headers = {"x-request-id": uuid.uuid4().hex}
        while True:
            try:
                step = steps.send(result)
            except StopIteration as done:
                return _checked(done.value)
            time.sleep(step.wait_s)
            timeout = httpx.Timeout(min(step.left_s, self._http.timeout.read or step.left_s))
            try:
                result = self._http.request(method, path, json=body, headers=headers, timeout=timeout)
            except httpx.TransportError as error:
                result = error


class AsyncClient:
    """Asks one endpoint from coroutines. Use it as an async context manager, or await `close`.

    Args:
        url: see `Client`.
        api_key: see `Client`.
        timeout_s: see `Client`.
        retries: see `Client`.
        deadline_s: see `Client`.
        connections: requests in flight at most.
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
        self._tries = Tries(url, retries, deadline_s)
        self._http: httpx.AsyncClient = _opened(httpx.AsyncClient, url, api_key, timeout_s)
        self._free = asyncio.Semaphore(connections)
        self._info: Info | None = None

    async def predict(self, texts: Sequence[str], top_k: int | None = None) -> Scores:
        """Score the labels of each text, the parts of many texts side by side. See `Client.predict`."""
        if not _some(texts):
            return []
        bodies = _bodies(texts, top_k, self._info or await self.info())
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask("POST", "/", body)) for body in bodies]
        except* LftError as failures:
            raise failures.exceptions[0] from None
        return [scores for task in tasks for scores in _read(_ANSWER, task.result(), self._tries.url)]

    async def info(self) -> Info:
        """The model that answers now, and the server's limits."""
        self._info = _read(_INFO, await self._ask("GET", "/info"), self._tries.url)
        return self._info

    async def health(self) -> bool:
        """Whether a model is ready to answer. Never raises and never tries twice."""
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

    async def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        result: httpx.Response | Exception | None = None
        headers = {"x-request-id": uuid.uuid4().hex}
        async with self._free:
            steps = self._tries.steps()
            while True:
                try:
                    step = steps.send(result)
                except StopIteration as done:
                    return _checked(done.value)
                await asyncio.sleep(step.wait_s)
                try:
                    async with asyncio.timeout(step.left_s):
                        result = await self._http.request(method, path, json=body, headers=headers)
                except (httpx.TransportError, TimeoutError) as error:
                    result = error


def _read(kind: TypeAdapter[Read], response: httpx.Response, url: str) -> Read:
    try:
        return kind.validate_json(response.content)
    except ValidationError:
        raise LftError(f"{url} is not a text classification endpoint: its answer has another form") from None


def _opened(kind: Any, url: str, api_key: str | None, timeout_s: float) -> Any:
    headers = {"authorization": f"Bearer {api_key.strip()}"} if api_key else {}
    try:
        http = kind(base_url=url, headers=headers, timeout=timeout_s)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InputError(f"{url!r} is not the address of an endpoint: {error}") from None
    if http.base_url.scheme not in ("http", "https") or not http.base_url.host:
        raise InputError(f"{url!r} is not the address of an endpoint", fix="write it as http://host:port")
    return http


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    try:
        message = ErrorBody.model_validate_json(response.content).error
    except ValidationError:
        message = "the server gives no reason"
    text = f"{response.request.url} answered {response.status_code}: {message}"
    if response.is_client_error:
        raise InputError(text, fix="give --api-key" if response.status_code == httpx.codes.UNAUTHORIZED else "")
    raise LftError(text)


def _some(texts: Sequence[str]) -> bool:
    if isinstance(texts, str):
        raise InputError("predict takes a list of texts and got one text", fix="predict([text])")
    return len(texts) > 0


def _bodies(texts: Sequence[str], top_k: int | None, info: Info) -> list[dict[str, Any]]:
    more = {"parameters": {"top_k": top_k}} if top_k is not None else {}
    parts: list[list[str]] = [[]]
    size = 0
    for number, text in enumerate(texts):
        length = _json_bytes(number, text) + 1
        if parts[-1] and (len(parts[-1]) == info.max_batch or size + length > info.max_body_bytes - _ENVELOPE_BYTES):
            parts.append([])
            size = 0
        parts[-1].append(text)
        size += length
    return [{"inputs": part} | more for part in parts]


def _json_bytes(number: int, text: str) -> int:
    if not isinstance(text, str):
        raise InputError(f"text {number} is a {type(text).__name__}, not a str")
    try:
        return len(json.dumps(text, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise InputError(f"text {number} holds half of a surrogate pair, which is not Unicode text") from None
