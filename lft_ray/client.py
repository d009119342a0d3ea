"""A typed client of an endpoint. In: texts. Out: label scores. Sees only ``wire`` and ``errors``; no Ray, no torch.

Requests change nothing at the server, so they are repeated when the connection breaks or the server is busy.
"""

import json
import random
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx
from pydantic import TypeAdapter, ValidationError

from lft_ray.errors import InputError, LftError, UnreachableError
from lft_ray.wire import Answer, ErrorBody, Info, LabelScore

__all__ = ["Client"]

_BUSY = frozenset({502, 503, 504})
_ENVELOPE_BYTES = 256
"""Room for what stands around the texts of one request."""
_LONGEST_WAIT_S = 5.0
_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


class Client:
    """Asks one endpoint. Use it as a context manager, or call `close`.

    Args:
        url: address of the endpoint, such as ``http://127.0.0.1:8000``.
        api_key: bearer key, if the endpoint wants one.
        timeout_s: seconds for one try of one request.
        retries: further tries when nobody answers, the connection breaks, or the answer is 502, 503 or 504.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout_s: float = 30.0, retries: int = 4) -> None:
        headers = {"authorization": f"Bearer {api_key.strip()}"} if api_key else {}
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise InputError(f"{url!r} is not the address of an endpoint: {error}") from None
        if self._http.base_url.scheme not in ("http", "https") or not self._http.base_url.host:
            raise InputError(f"{url!r} is not the address of an endpoint", fix="write it as http://host:port")
        self._url = url
        self._retries = retries
        self._info: Info | None = None

    def predict(self, texts: Sequence[str], top_k: int | None = None) -> list[list[LabelScore]]:
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
        if isinstance(texts, str):
            raise InputError("predict takes a list of texts and got one text", fix="predict([text])")
        if not texts:
            return []
        info = self._limits()
        found: list[list[LabelScore]] = []
        for part in _parts(texts, info.max_batch, info.max_body_bytes - _ENVELOPE_BYTES):
            body = {"inputs": part} | ({"parameters": {"top_k": top_k}} if top_k is not None else {})
            found += self._parse(self._ask("POST", "/", body))
        return found

    def info(self) -> Info:
        """The model that answers now, and the server's limits."""
        self._info = Info.model_validate_json(self._ask("GET", "/info").content)
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

    def _limits(self) -> Info:
        return self._info or self.info()

    def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        problem, wait_s = "", 0.0
        for attempt in range(self._retries + 1):
            if attempt:
                # Full jitter: clients that were cut off together do not come back together.
                time.sleep(max(wait_s, random.uniform(0.0, min(_LONGEST_WAIT_S, 0.1 * 2**attempt))))
            try:
                response = self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                problem, wait_s = f"{type(error).__name__}: {error}", 0.0
                continue
            if not _may_be_repeated(response):
                return _checked(response)
            problem, wait_s = f"HTTP {response.status_code}", _retry_after_s(response)
        raise UnreachableError(
            f"{self._url} does not answer: {problem}, {self._retries + 1} tries",
            fix="`lft deploy RUN` starts an endpoint; GET /health and /ready tell how it is",
        )

    def _parse(self, response: httpx.Response) -> Answer:
        try:
            return _ANSWER.validate_json(response.content)
        except ValidationError:
            raise LftError(f"{self._url} is not a text classification endpoint: its answer has another form") from None


def _may_be_repeated(response: httpx.Response) -> bool:
    # Ray's proxy says 500 in plain text when a replica dies under a request; our own 500 is JSON and would come again.
    is_ours = response.headers.get("content-type", "").startswith("application/json")
    return response.status_code in _BUSY or (response.status_code == httpx.codes.INTERNAL_SERVER_ERROR and not is_ours)


def _retry_after_s(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return min(float(value), _LONGEST_WAIT_S) if value.isdigit() else 0.0


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


def _parts(texts: Sequence[str], most: int, most_bytes: int) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    size = 0
    for number, text in enumerate(texts):
        length = _json_bytes(number, text) + 1
        if parts[-1] and (len(parts[-1]) == most or size + length > most_bytes):
            parts.append([])
            size = 0
        parts[-1].append(text)
        size += length
    return parts


def _json_bytes(number: int, text: str) -> int:
    if not isinstance(text, str):
        raise InputError(f"text {number} is a {type(text).__name__}, not a str")
    try:
        return len(json.dumps(text, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise InputError(f"text {number} holds half of a surrogate pair, which is not Unicode text") from None
