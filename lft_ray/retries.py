"""When a request to an endpoint is tried again. In: what came of each try. Out: how long to wait. Sends nothing itself.

Full jitter (random waits below a bound that doubles), ``Retry-After`` as RFC 9110 has it, and one deadline over all.
"""

import random
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from lft_ray.errors import UnreachableError

__all__ = ["Step", "Tries", "retry_after_s"]

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
