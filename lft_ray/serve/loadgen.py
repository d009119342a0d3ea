"""Load an endpoint over HTTP and measure what its clients feel. Raw asyncio streams: the generator shares the machine
with the server, and a full HTTP client costs more processor time a request than the server's ingress does.

In: an address, request bodies, a rate (open loop) or a number of connections (closed loop). Out: a `LoadResult`.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lft_ray.records import Record

__all__ = ["LoadResult", "LoadRow", "closed_loop", "load_test", "open_loop", "quantile_ms", "text_bodies"]

_TIMEOUT_S = 30.0


@dataclass(slots=True)
class LoadResult:
    """What a load run measured."""

    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    """One a good answer. Open loop: from the moment the request was due, so that waiting for a connection counts."""
    statuses: dict[int, int] = field(default_factory=dict)
    """HTTP status -> answers; 0: the connection broke."""

    @property
    def ok(self) -> int:
        """Answers with status 200."""
        return self.statuses.get(200, 0)

    @property
    def failed(self) -> int:
        """All other answers."""
        return sum(self.statuses.values()) - self.ok

    @property
    def requests_per_s(self) -> float:
        """Good answers a second."""
        return self.ok / self.seconds if self.seconds > 0 else 0.0

    @property
    def p50_ms(self) -> float:
        """Median latency."""
        return quantile_ms(self.latencies_ms, 0.50)

    @property
    def p95_ms(self) -> float:
        """Latency that 95 of 100 requests stay below."""
        return quantile_ms(self.latencies_ms, 0.95)

    @property
    def p99_ms(self) -> float:
        """Latency that 99 of 100 requests stay below."""
        return quantile_ms(self.latencies_ms, 0.99)


def quantile_ms(latencies_ms: Sequence[float], share: float) -> float:
    """The smallest latency that at least ``share`` of them do not exceed; 0 for none."""
    ordered = sorted(latencies_ms)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


def text_bodies(texts: Sequence[str]) -> list[bytes]:
    """One request body a text."""
    return [json.dumps({"inputs": text}).encode() for text in texts]


async def closed_loop(
    url: str, bodies: Sequence[bytes], *, connections: int, seconds: float, headers: dict[str, str] | None = None
) -> LoadResult:
    """Keep ``connections`` requests in flight for ``seconds``: what the server can do at most.

    Args:
        url: address of the endpoint.
        bodies: JSON bodies, sent in turn.
        connections: connections, each of which sends as soon as it has its answer.
        seconds: how long to send; answers still in flight then are waited for.
        headers: further request headers.
    """
    begun = time.perf_counter()
    result = LoadResult(0.0)
    turn = itertools.cycle(_requests(url, bodies, headers))

    async def work() -> None:
        connection = _Connection(url)
        while time.perf_counter() - begun < seconds:
            await _timed(connection, next(turn), time.perf_counter(), result)
        await connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    result.seconds = time.perf_counter() - begun
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
    """Send at a fixed rate, whether or not answers come: what users feel.

    Args:
        url: address of the endpoint.
        bodies: JSON bodies, sent in turn.
        requests_per_s: rate.
        seconds: how long to send.
        connections: most requests in flight; one that finds all taken waits, and its wait counts.
        headers: further request headers.
    """
    result = LoadResult(0.0)
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(_Connection(url))
    begun = time.perf_counter()

    async def send(request: bytes, due: float) -> None:
        connection = await free.get()
        await _timed(connection, request, due, result)
        free.put_nowait(connection)

    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(itertools.cycle(_requests(url, bodies, headers))):
            offset = number / requests_per_s
            if offset >= seconds:
                break
            await asyncio.sleep(max(0.0, begun + offset - time.perf_counter()))
            group.create_task(send(request, begun + offset))
    result.seconds = time.perf_counter() - begun
    while not free.empty():
        await free.get_nowait().close()
    return result


async def _timed(connection: "_Connection", request: bytes, due: float, result: LoadResult) -> None:
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
    """Read the body of an answer whose lower-case ``head`` says how long it is (RFC 9112, section 6)."""
    _, found, length = head.partition(b"\r\ncontent-length:")
    if found:
        await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        return
    if b"\r\ntransfer-encoding: chunked" not in head:
        raise ValueError("an answer without a length")
    while size := int((await reader.readline()).split(b";", 1)[0], 16):
        await reader.readexactly(size + 2)
    while await reader.readline() != b"\r\n":
        pass  # trailers


class _Connection:
    """One keep-alive connection that opens itself when it must."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes) -> int:
        """Send a request, read its whole answer, return its status."""
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
        """Close; the next exchange opens again."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


SHARES = (0.25, 0.5, 0.75)
"""Rates that are tried where none is given, of the most that was answered."""
_WARM_UP_S = 1.0


class LoadRow(Record):
    """One run."""

    rate: float | None
    """Requests a second that were due; None: as many as the connections could."""
    connections: int
    requests: int
    requests_per_s: float
    """Good answers a second."""
    failed: int
    statuses: dict[str, int]
    """HTTP status -> answers; 0: the connection broke."""
    p50_ms: float
    p95_ms: float
    p99_ms: float


def load_test(
    url: str,
    texts: Sequence[str],
    *,
    rates: Sequence[float] = (),
    seconds: float = 10.0,
    connections: int = 32,
    api_key: str | None = None,
) -> Iterator[LoadRow]:
    """Load an endpoint, one run after the other; each row is yielded as soon as it is measured.

    Args:
        url: address, ``http://`` alone.
        texts: at least one; one text a request, in turn.
        rates: requests a second; none: the most that the connections get, then shares of it.
        seconds: of each run.
        connections: of the first run; at a rate twice as many may be in flight, and waiting for one counts.
        api_key: bearer key.
    """
    bodies = text_bodies(texts)
    headers = {"authorization": f"Bearer {api_key}"} if api_key else None
    asyncio.run(closed_loop(url, bodies, connections=connections, seconds=_WARM_UP_S, headers=headers))
    if not rates:
        most = asyncio.run(closed_loop(url, bodies, connections=connections, seconds=seconds, headers=headers))
        yield _row(most, None, connections)
        rates = [most.requests_per_s * share for share in SHARES if most.ok]
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
