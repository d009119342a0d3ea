"""Wait for something, up to a deadline. In: a question that is asked again and again. Out: its first useful answer."""

import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from lft_ray.serve.addresses import is_loopback

__all__ = ["wait_healthy", "wait_until"]

AnswerT = TypeVar("AnswerT")
_POLL_S = 0.1
_ANSWER_S = 5.0


def wait_until(
    ask: Callable[[], AnswerT],
    *,
    timeout_s: float,
    poll_s: float = _POLL_S,
    give_up: Callable[[], bool] = lambda: False,
) -> AnswerT | None:
    """Ask until the answer is true.

    Args:
        ask: the question, which is put at least once; what it raises ends the wait.
        timeout_s: how long.
        poll_s: pause between two questions.
        give_up: asked before each pause; True ends the wait.

    Returns:
        The first answer that is true; None when there was none in time.
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := ask()):
        if give_up() or time.monotonic() >= deadline:
            return None
        time.sleep(poll_s)
    return answer


def wait_healthy(url: str, timeout_s: float) -> str:
    """Ask ``url``/health until the answer is 200.

    Returns:
        An empty string, or what came instead until the time was up.
    """
    import httpx

    problem = ""

    def is_healthy() -> bool:
        nonlocal problem
        try:
            status = client.get(f"{url.rstrip('/')}/health").status_code
        except httpx.HTTPError as error:
            problem = str(error)
            return False
        problem = f"/health answers {status}"
        return status == httpx.codes.OK

    # A proxy that the environment names cannot reach this machine's loopback addresses.
    with httpx.Client(timeout=_ANSWER_S, trust_env=not is_loopback(urlsplit(url).hostname or "")) as client:
        return "" if wait_until(is_healthy, timeout_s=timeout_s) else problem
