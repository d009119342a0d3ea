"""HTTP load generator: throughput and client-side latency of an endpoint, and the load test of ``lft bench``.

In: a URL, request bodies or texts, a request rate (open loop) or a number of connections (closed loop). Out: a
`LoadResult` per run, or the `LoadRow` of each run of a load test. Uses raw asyncio streams: the generator shares the
machine with the server, and a full HTTP client costs more CPU time per request than the server's ingress does.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lft_ray.records import Record
from lft_ray.texts import Text
from lft_ray.wire import PredictionKind, wire_input

__all__ = ["LoadResult", "LoadRow", "closed_loop", "load_test", "open_loop", "quantile_ms", "text_bodies"]

SHARES = (0.25, 0.5, 0.75)
"""Request rates where none is given, as fractions of the maximum throughput."""
_WARM_UP_S = 1.0
_TIMEOUT_S = 30.0
"""Of one request; a slower one counts as one without a response."""


@dataclass(slots=True)
class LoadResult:
    """Measurements of one load run."""

    seconds: float
    """Wall-clock duration of the run."""
    latencies_ms: list[float] = field(default_factory=list)
    """One per response with status 200. Open loop: from the time it was due, so waiting for a connection counts."""
    statuses: dict[int, int] = field(default_factory=dict)
    """HTTP status -> number of responses; 0: no response, the connection failed or timed out."""

    @property
    def ok(self) -> int:
        """Number of responses with status 200."""
        return self.statuses.get(200, 0)

    @property
    def failed(self) -> int:
        """Number of requests with another status or without a response."""
        return sum(self.statuses.values()) - self.ok

    @property
    def requests_per_s(self) -> float:
        """Responses with status 200 per second."""
        return self.ok / self.seconds if self.seconds > 0 else 0.0

    @property
    def p50_ms(self) -> float:
        """Median latency in ms."""
        return quantile_ms(self.latencies_ms, 0.50)

    @property
    def p95_ms(self) -> float:
        """95th percentile of the latency in ms."""
        return quantile_ms(self.latencies_ms, 0.95)

    @property
    def p99_ms(self) -> float:
        """99th percentile of the latency in ms."""
        return quantile_ms(self.latencies_ms, 0.99)


class LoadRow(Record):
    """One run of a load test."""

    rate: float | None
    """Requests per second that were due; None: closed loop, as many as the connections allow."""
    connections: int
    requests: int
    requests_per_s: float
    """Responses with status 200 per second."""
    failed: int
    statuses: dict[str, int]
    """HTTP status -> number of responses; 0: no response, the connection failed or timed out."""
    p50_ms: float
    p95_ms: float
    p99_ms: float


def quantile_ms(latencies_ms: Sequence[float], share: float) -> float:
    """Quantile by the nearest-rank method, so always a measured value.

    Args:
        latencies_ms: in any order.
        share: in 0 to 1, such as 0.95 for the p95.

    Returns:
        The smallest latency that at least ``share`` of all do not exceed; 0 for an empty sequence.
    """
    ordered = sorted(latencies_ms)
    if not ordered:
        return 0.0
    # In integers: as floats, 0.55 * 100 exceeds 55, and rounding up would give the next rank.
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


def text_bodies(texts: Sequence[Text], answers: PredictionKind = "labels") -> list[bytes]:
    """One JSON request body per text; ``answers`` is `Info.answers` of the endpoint."""
    return [json.dumps({"inputs": wire_input(text, answers)}).encode() for text in texts]


async def closed_loop(
    url: str, bodies: Sequence[bytes], *, connections: int, seconds: float, headers: dict[str, str] | None = None
) -> LoadResult:
    """Keep ``connections`` requests in flight for ``seconds``: measures maximum throughput.

    Args:
        url: URL of the endpoint.
        bodies: JSON bodies, sent in rotation.
        connections: number of connections, each of which sends its next request on receiving a response.
        seconds: sending time; responses still in flight at its end are awaited.
        headers: additional request headers.
    """
    started_at = time.perf_counter()
    result = LoadResult(0.0)
    rotation = itertools.cycle(_requests(url, bodies, headers))

    async def send_until_over() -> None:
        connection = _Connection(url)
        while time.perf_counter() - started_at < seconds:
            await _send_timed(connection, next(rotation), time.perf_counter(), result)
        await connection.close()

    await asyncio.gather(*(send_until_over() for _ in range(connections)))
    result.seconds = time.perf_counter() - started_at
    return result


async def open_loop(
    url: str,
    bodies: Sequence[bytes],
    *,
    requests_per_s: float,
    seconds: float,
    connections: int = 64,
    headers: dict[str, str] | None = None,
) -> LoadResult:
    """Send at a fixed rate, whether or not responses arrive: measures the latency that users experience.

    Args:
        url: URL of the endpoint.
        bodies: JSON bodies, sent in rotation.
        requests_per_s: request rate.
        seconds: sending time.
        connections: maximum number of requests in flight; beyond it requests queue, and the wait counts as latency.
        headers: additional request headers.
    """
    result = LoadResult(0.0)
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(_Connection(url))
    started_at = time.perf_counter()

    async def send(request: bytes, due: float) -> None:
        connection = await free.get()
        await _send_timed(connection, request, due, result)
        free.put_nowait(connection)

    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(itertools.cycle(_requests(url, bodies, headers))):
            offset = number / requests_per_s
            if offset >= seconds:
                break
            await asyncio.sleep(max(0.0, started_at + offset - time.perf_counter()))
            group.create_task(send(request, started_at + offset))
    result.seconds = time.perf_counter() - started_at
    while not free.empty():
        await free.get_nowait().close()
    return result


def load_test(
    url: str,
    texts: Sequence[Text],
    *,
    rates: Sequence[float] = (),
    seconds: float = 10.0,
    connections: int = 32,
    api_key: str | None = None,
    answers: PredictionKind = "labels",
) -> Iterator[LoadRow]:
    """Load-test an endpoint, one run after the other; each row is yielded as soon as it is measured.

    Args:
        url: URL of the endpoint, ``http://`` only.
        texts: at least one; each request carries one of them, in rotation.
        rates: request rates per second; empty: maximum throughput first, then the fractions of it in `SHARES`.
        seconds: duration of each run.
        connections: number of connections of the closed loop; a run at a rate may have twice as many in flight.
        api_key: bearer key, if the endpoint requires one.
        answers: `Info.answers` of the endpoint.
    """
    bodies = text_bodies(texts, answers)
    headers = {"authorization": f"Bearer {api_key}"} if api_key else None
    asyncio.run(closed_loop(url, bodies, connections=connections, seconds=_WARM_UP_S, headers=headers))
    if not rates:
        peak = asyncio.run(closed_loop(url, bodies, connections=connections, seconds=seconds, headers=headers))
        yield _row(peak, None, connections)
        rates = [peak.requests_per_s * share for share in SHARES if peak.ok]
    for rate in rates:
        limit = 2 * connections
        load = open_loop(url, bodies, requests_per_s=rate, seconds=seconds, connections=limit, headers=headers)
        yield _row(asyncio.run(load), rate, limit)


def _row(result: LoadResult, rate: float | None, connections: int) -> LoadRow:
    return LoadRow(
        rate=None if rate is None else round(rate, 1),
        connections=connections,
        requests=result.ok + result.failed,
        requests_per_s=round(result.requests_per_s, 1),
        failed=result.failed,
        statuses={str(status): count for status, count in sorted(result.statuses.items())},
        p50_ms=round(result.p50_ms, 2),
        p95_ms=round(result.p95_ms, 2),
        p99_ms=round(result.p99_ms, 2),
    )


async def _send_timed(connection: "_Connection", request: bytes, due: float, result: LoadResult) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            status = await connection.exchange(request)
    except (OSError, EOFError, ValueError, TimeoutError):
        status = 0
        await connection.close()
    if status == 200:
        result.latencies_ms.append((time.perf_counter() - due) * 1000.0)
    result.statuses[status] = result.statuses.get(status, 0) + 1


def _requests(url: str, bodies: Sequence[bytes], headers: dict[str, str] | None) -> Iterator[bytes]:
    parts = urlsplit(url)
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"POST {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n{extra}"
    for body in bodies:
        yield f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def _skip_body(reader: asyncio.StreamReader, head: bytes) -> None:
    """Read the body of a response, whose length its lower-case ``head`` declares (RFC 9112, section 6)."""
    _, found, length = head.partition(b"\r\ncontent-length:")
    if found:
        await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        return
    if b"\r\ntransfer-encoding: chunked" not in head:
        raise ValueError("the response declares no length")
    while size := int((await reader.readline()).split(b";", 1)[0], 16):
        await reader.readexactly(size + 2)  # with the CRLF after the chunk
    while await reader.readline() != b"\r\n":
        pass  # trailers


class _Connection:
    """One keep-alive connection, opened on demand."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes) -> int:
        """Send a request, read the whole response, return its status."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        await _skip_body(reader, head)
        if b"\r\nconnection: close" in head:
            await self.close()
        return status

    async def close(self) -> None:
        """Close the connection; the next `exchange` opens a new one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
