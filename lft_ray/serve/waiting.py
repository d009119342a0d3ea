"""Poll a condition until it holds or a deadline passes. In: a callable. Out: its first truthy result, or None."""

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_healthy", "wait_until"]

ResultT = TypeVar("ResultT")
_POLL_S = 0.1
_HEALTH_TIMEOUT_S = 5.0
"""Of one health request."""


def wait_until(
    condition: Callable[[], ResultT],
    *,
    timeout_s: float,
    poll_s: float = _POLL_S,
    give_up: Callable[[], bool] = lambda: False,
) -> ResultT | None:
    """Poll a condition until it returns a truthy value.

    Args:
        condition: called at least once; its exceptions propagate.
        timeout_s: deadline in seconds from now.
        poll_s: pause between two calls, in seconds.
        give_up: called before each pause; True ends the wait early.

    Returns:
        The first truthy result; None after the deadline or where ``give_up`` returned True.
    """
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        if give_up() or time.monotonic() >= deadline:
            return None
        time.sleep(poll_s)
    return result


def wait_healthy(url: str, timeout_s: float) -> str:
    """Poll ``url``/health until it returns 200.

    Returns:
        An empty string once it does; after ``timeout_s`` the last problem, as text for an error message.
    """
    import httpx

    from lft_ray.system.http import make_client

    problem = ""

    def is_healthy() -> bool:
        nonlocal problem
        try:
            status = client.get(f"{url.rstrip('/')}/health").status_code
        except httpx.HTTPError as error:
            problem = str(error)
            return False
        problem = f"/health returns {status}"
        return status == httpx.codes.OK

    with make_client(httpx.Client, url, timeout=_HEALTH_TIMEOUT_S) as client:
        return "" if wait_until(is_healthy, timeout_s=timeout_s) else problem
