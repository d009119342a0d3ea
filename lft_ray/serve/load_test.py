"""``lft bench``: what an endpoint answers at most, and what its users feel below that. In: an address. Out: rows.

At a fixed rate (open loop) a latency counts from the moment the request was due, so a server that stalls cannot hide it
by slowing the questions down.
"""

import asyncio
from collections.abc import Iterator, Sequence

from lft_ray.records import Record
from lft_ray.serve.load import LoadResult, closed_loop, open_loop, text_bodies

__all__ = ["LoadRow", "load_test"]

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
