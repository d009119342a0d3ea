"""Make replicas serve a bundle, and learn from each of them whether it does. Needs a started Serve.

In: a `Wish`. Out: an `Outcome`: what every running replica says about that wish.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lft_ray.config import ServeSpec
from lft_ray.errors import LftError, UnreachableError
from lft_ray.serve.app import APP_NAME, DEPLOYMENT_NAME, build_app
from lft_ray.serve.changes import Outcome
from lft_ray.serve.wish import Wish

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

__all__ = ["apply", "settle", "survey"]

_POLL_S = 0.1


@dataclass(slots=True)
class _Poll:
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    problem: str = ""


def apply(
    spec: ServeSpec, wish: Wish, *, key_hashes: tuple[str, ...] = (), use_resource: bool = False
) -> "DeploymentHandle[Any]":
    """Hand a wish to Serve: starts replicas the first time, reaches the living ones as ``user_config`` later."""
    from ray import serve

    app = build_app(spec, wish, key_hashes=key_hashes, use_resource=use_resource)
    target = serve.RunTarget(target=app, name=APP_NAME, route_prefix="/")
    return serve.run_many([target], wait_for_applications_running=False)[0]


def settle(
    handle: "DeploymentHandle[Any]", wish: Wish, *, timeout_s: float, interrupted: Callable[[], bool] = lambda: False
) -> Outcome:
    """Wait until every running replica has decided about ``wish``.

    Args:
        handle: as `apply` returned it.
        wish: the wish that was applied.
        timeout_s: how long.
        interrupted: asked between polls; True ends the wait.

    Raises:
        UnreachableError: they did not decide in time, or ``interrupted``.
        LftError: Serve gave up starting replicas.
    """
    deadline = time.monotonic() + timeout_s
    poll = _Poll()
    while time.monotonic() < deadline and not interrupted():
        running = _running_replicas()
        _ask(handle, poll)
        decided = [
            s for s in poll.states.values() if s["serial"] == wish.serial and s["state"] in ("ready", "rejected")
        ]
        if running and len(decided) >= running:
            versions = sorted({state["version"] for state in decided})
            reason = next((state["reason"] for state in decided if state["reason"]), "")
            candidate = next((state["candidate_version"] for state in decided), "")
            return Outcome(",".join(versions), reason, len(decided), candidate)
        time.sleep(_POLL_S)
    raise UnreachableError(
        f"the replicas were not ready within {timeout_s:.0f} s: {len(poll.states)} answered. {poll.problem}".rstrip()
    )


def survey(handle: "DeploymentHandle[Any]", *, timeout_s: float = 2.0) -> dict[str, dict[str, Any]]:
    """The state of every running replica by its name; of those that could be met in time."""
    poll = _Poll()
    deadline = time.monotonic() + timeout_s
    while len(poll.states) < _running_replicas() and time.monotonic() < deadline:
        _ask(handle, poll)
    return poll.states


def _running_replicas() -> int:
    """Replicas that get requests now; 0 while some that must be there are still starting."""
    from ray import serve
    from ray.serve.schema import ApplicationStatus

    app = serve.status().applications.get(APP_NAME)
    if app is None:
        return 0
    if app.status == ApplicationStatus.DEPLOY_FAILED:
        details = "; ".join(d.message for d in app.deployments.values() if d.message) or app.message
        raise LftError(f"no replica could start: {details}")
    if app.status != ApplicationStatus.RUNNING:
        return 0
    states = app.deployments[DEPLOYMENT_NAME].replica_states
    return sum(count for state, count in states.items() if str(getattr(state, "value", state)) == "RUNNING")


def _ask(handle: "DeploymentHandle[Any]", poll: _Poll) -> None:
    # One call reaches one replica, chosen by Serve at random, so a few replicas are all met within a few rounds.
    try:
        state = handle.state.remote().result(timeout_s=2.0)
    except TimeoutError:
        poll.problem = "No replica answers."
    except Exception as error:  # a replica that dies while asked is asked again by the next round  # noqa: BLE001
        poll.problem = f"{type(error).__name__}: {error}"
    else:
        poll.states[state["replica"]] = state
