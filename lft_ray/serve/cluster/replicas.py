"""Apply a desired state to the replicas and collect their statuses. Requires a started Serve.

In: a `DesiredState`. Out: the `ReplicaStatus` of every running replica.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lft_ray.config import ServeSpec
from lft_ray.errors import LftError, UnreachableError
from lft_ray.serve.cluster.deployment import APP_NAME, DEPLOYMENT_NAME, build_app
from lft_ray.serve.patience import Patience
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus
from lft_ray.serve.waiting import wait_until

if TYPE_CHECKING:
    from ray.serve import RunTarget
    from ray.serve.handle import DeploymentHandle

__all__ = ["apply", "describe", "one_line", "run_application", "settle", "survey", "survey_app"]

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_REASON_CHARS = 200


@dataclass(slots=True)
class _Poll:
    """What polling the replicas has found so far."""

    statuses: dict[str, ReplicaStatus] = field(default_factory=dict)
    problem: str = ""


def apply(
    spec: ServeSpec, desired: DesiredState, *, key_hashes: tuple[str, ...] = (), use_resource: bool = False
) -> "DeploymentHandle[Any]":
    """Deploy to Serve: starts replicas the first time; later, running ones receive ``desired`` as ``user_config``."""
    from ray import serve

    app = build_app(spec, desired, key_hashes=key_hashes, use_resource=use_resource)
    target = serve.RunTarget(target=app, name=APP_NAME, route_prefix="/")
    return run_application(target)


def run_application(target: "RunTarget") -> "DeploymentHandle[Any]":
    """Deploy an application without waiting for its replicas; returns its handle.

    Serve then waits a minute for its proxies and raises `TimeoutError`, although all is deployed: five searches that
    start at once on two cores need longer. Those who wait for the replicas are more patient.
    """
    from ray import serve

    try:
        return serve.run_many([target], wait_for_applications_running=False)[0]
    except TimeoutError:
        return serve.get_app_handle(target.name)


def settle(
    handle: "DeploymentHandle[Any]",
    desired: DesiredState,
    *,
    timeout_s: float,
    interrupted: Callable[[], bool] = lambda: False,
    patience: Patience | None = None,
) -> list[ReplicaStatus]:
    """Wait until every running replica has decided about ``desired``.

    Args:
        handle: handle of the deployment, from `apply`.
        desired: the desired state that was applied.
        timeout_s: seconds until they must have decided.
        interrupted: called between polls; True ends the wait.
        patience: waits on beyond ``timeout_s`` while the processes of a starting endpoint work; None: no longer.

    Raises:
        UnreachableError: the replicas did not decide in time, or ``interrupted`` returned True.
        LftError: Serve gave up starting replicas.
    """
    poll = _Poll()

    def decided() -> list[ReplicaStatus]:
        running = _running_replicas()
        _poll_one(handle, poll)
        statuses = [s for s in poll.statuses.values() if s.serial == desired.serial and s.has_decided]
        return statuses if running and len(statuses) >= running else []

    patience = patience or Patience(timeout_s, lambda: 0.0)
    statuses = wait_until(decided, timeout_s=float("inf"), give_up=lambda: interrupted() or patience.is_over())
    if not statuses:
        responses = f"{len(poll.statuses)} responded. {poll.problem}".rstrip()
        raise UnreachableError(f"the replicas were not ready within {patience.waited_s:.0f} s: {responses}")
    return statuses


def survey(handle: "DeploymentHandle[Any]", *, timeout_s: float = 2.0) -> list[ReplicaStatus]:
    """The status of every running replica that could be reached in time."""
    poll = _Poll()
    deadline = time.monotonic() + timeout_s
    while len(poll.statuses) < _running_replicas() and time.monotonic() < deadline:
        _poll_one(handle, poll)
    return list(poll.statuses.values())


def survey_app() -> list[ReplicaStatus]:
    """As `survey`, of an application that another process has deployed."""
    from ray import serve

    return survey(serve.get_deployment_handle(DEPLOYMENT_NAME, APP_NAME))


def describe() -> str:
    """One line about the replicas: how many run, and what Serve says about those that do not."""
    from ray import serve

    app = serve.status().applications.get(APP_NAME)
    if app is None or DEPLOYMENT_NAME not in app.deployments:
        return ""
    deployment = app.deployments[DEPLOYMENT_NAME]
    states = {str(getattr(state, "value", state)).lower(): n for state, n in deployment.replica_states.items() if n}
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none running"
    reason = one_line(deployment.message)
    is_well = set(states) <= {"running"}
    return f"replicas: {counts}" + ("" if is_well or not reason else f": {reason}")


def one_line(message: str) -> str:
    """What Serve says about a replica, without colours; of a traceback the beginning, and its end, which says why."""
    text = " ".join(_ANSI.sub("", message).split())
    return text if len(text) <= 2 * _REASON_CHARS else f"{text[:_REASON_CHARS]} ... {text[-_REASON_CHARS:]}"


def _running_replicas() -> int:
    """Number of replicas that receive requests; 0 while some of the required ones are still starting."""
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


def _poll_one(handle: "DeploymentHandle[Any]", poll: _Poll) -> None:
    # Each call reaches one replica, chosen by Serve at random, so a few rounds reach all of a few replicas.
    try:
        status: ReplicaStatus = handle.status.remote().result(timeout_s=2.0)
    except TimeoutError:
        poll.problem = "No replica responds."
    except Exception as error:  # a replica may die during the call; the next round tries again  # noqa: BLE001
        poll.problem = f"{type(error).__name__}: {error}"
    else:
        poll.statuses[status.replica] = status
