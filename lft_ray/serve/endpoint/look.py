"""What an endpoint does now: asks the kernel, the endpoint itself and its HAProxy, and never trusts the record alone.

In: a run folder. Out: an `EndpointView`. No wall clock decides, and nothing is started, stopped or written.
"""

import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx

from lft_ray.config import ServeSpec
from lft_ray.errors import InputError, UnreachableError
from lft_ray.processes import ProcessIdentity, alive, this_process
from lft_ray.records import CanaryRecord, Endpoint, Record
from lft_ray.run.storage import Storage
from lft_ray.serve.addresses import is_loopback
from lft_ray.serve.cluster import haproxy
from lft_ray.serve.endpoint import messages
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.locks import serving
from lft_ray.serve.waiting import wait_until
from lft_ray.system.text import quoted

__all__ = ["EndpointView", "Presence", "look", "presence", "require_live", "spec_of", "wait_started"]

READY_TIMEOUT_S = 1.0
"""Of the request to ``/ready``: a status command must not wait for an endpoint that hangs."""

_EXIT_S = 5.0
"""Seconds after the end of a process in which the kernel gives its lock back."""

Presence = Literal["none", "stopped", "starting", "live", "dead", "elsewhere", "copied", "cluster"]
"""Where the process of a record is.

none: there is no record. starting, live: it lives here. dead: it is gone without having stopped. elsewhere: it ran on
another machine, at which this one cannot look. copied: the record belongs to the run from which this folder was copied.
cluster: an existing Ray cluster keeps the endpoint alive.
"""


class EndpointView(Record):
    """State of an endpoint, as ``lft status`` shows it."""

    state: Literal["starting", "ready", "not_ready", "unreachable", "dead", "elsewhere", "stopped"]
    """not_ready: it responds, but no model does. unreachable: its process lives, but does not respond in time."""
    url: str
    version: str = ""
    replicas_ready: int | None = None
    """Replicas that HAProxy routes to; None where that cannot be seen."""
    replicas_wanted: str = ""
    """Limits of the autoscaling: ``1``, or ``1 to 4``."""
    pid: int = 0
    age_s: float | None = None
    """Seconds since its process started; None where it is not on this machine."""
    message: str = ""
    log: str = ""
    canary: CanaryRecord | None = None


def presence(storage: Storage, found: Endpoint | None) -> Presence:
    """Where the process of a record is; see `Presence`."""
    holder = serving(storage)
    if holder is not None and (found is None or not _same(holder.process, found.process) or found.state == "stopped"):
        return "starting"  # before its first record, or after its last one
    if found is None:
        return "none"
    if found.state == "stopped":
        return "stopped"
    if found.address:
        return "cluster"
    if holder is not None or endpoints.is_alive(found):
        if holder is None and _is_copy(storage, found):
            return "copied"
        return "starting" if found.state == "starting" else "live"
    return "elsewhere" if _is_elsewhere(found) else "dead"


def wait_started(storage: Storage, *, wait_s: float) -> tuple[Endpoint | None, Presence]:
    """The record and where its process is, once it is no longer starting.

    Raises:
        InputError: the record is damaged.
        UnreachableError: it still starts after ``wait_s`` seconds.
    """
    ending_until = time.monotonic() + _EXIT_S

    def settled() -> tuple[Endpoint | None, Presence] | None:
        found = endpoints.read(storage)
        where = presence(storage, found)
        # The lock of a killed process outlives its main thread until its other threads have ended, too.
        is_ending = where == "live" and found is not None and not endpoints.is_alive(found)
        is_settled = where != "starting" and not (is_ending and time.monotonic() < ending_until)
        return (found, where) if is_settled else None

    result = wait_until(settled, timeout_s=wait_s)
    if result is None:
        raise UnreachableError(
            f"the endpoint of {storage.uri} was still starting after {wait_s:.0f} s: {serving(storage)}",
            fix=f"`lft status {quoted(storage.uri)}` shows it; `lft down {quoted(storage.uri)}` stops it",
        )
    return result


def require_live(storage: Storage) -> Endpoint:
    """The live endpoint of a run, for a command that sends it requests.

    Raises:
        InputError: there is none, or the record is damaged.
        UnreachableError: it is starting, its process is gone, or it runs on another machine behind loopback.
    """
    found = endpoints.read(storage)
    where = presence(storage, found)
    if where == "starting":
        raise UnreachableError(
            f"the endpoint of {storage.uri} is starting", fix=f"`lft status {quoted(storage.uri)}` shows it"
        )
    if found is None or where in ("none", "stopped", "copied"):
        raise InputError(f"{storage.uri} has no live endpoint", fix=f"`lft deploy {quoted(storage.uri)}` starts one")
    if where == "dead":
        raise UnreachableError(
            f"the endpoint of {storage.uri} is dead: its process {found.pid} is gone",
            fix=f"`lft deploy {quoted(storage.uri)}` starts it again",
        )
    if where == "elsewhere" and is_loopback(urlsplit(found.url).hostname or ""):
        raise UnreachableError(
            f"the endpoint of {storage.uri} runs on {found.host} and listens on {found.url} there",
            fix=f"run the command on {found.host}, or deploy with --set serve.host=0.0.0.0",
        )
    return found


def look(storage: Storage) -> EndpointView | None:
    """Look at the endpoint of a run. Takes at most about a second.

    Returns:
        None if there has never been one.

    Raises:
        InputError: the record is damaged.
    """
    found = endpoints.read(storage)
    where = presence(storage, found)
    if found is None:
        holder = serving(storage)
        return None if holder is None else EndpointView(state="starting", url="", message=str(holder))
    if where == "copied":
        return None
    view = EndpointView(
        state="stopped",
        url=found.url,
        version=found.version,
        replicas_wanted=_wanted(spec_of(found)),
        pid=found.pid,
        message=found.message,
        log=_log_of(storage, found),
        canary=found.canary if where in ("live", "cluster") else None,
    )
    if where in ("stopped", "starting"):
        return view.replace(state=where, age_s=_age_s(found.process) if where == "starting" else None)
    if where == "dead":
        return view.replace(state="dead", message=_join(f"its process {found.pid} is gone", found.message))
    if where == "elsewhere" and is_loopback(urlsplit(found.url).hostname or ""):
        return view.replace(state="elsewhere", message=_join(f"it runs on {found.host}", found.message))
    state, problem = _ask(found.url)
    ready = _replicas_ready(found) if state != "unreachable" else None  # HAProxy would not answer either
    age_s = _age_s(found.process) if where == "live" else None
    return view.replace(state=state, replicas_ready=ready, age_s=age_s, message=_join(problem, found.message))


def spec_of(found: Endpoint) -> ServeSpec | None:
    """Settings that an endpoint runs with; None if neither its record nor its folder has them."""
    if found.spec is not None or not found.folder:
        return found.spec
    with suppress(InputError, OSError):
        request = messages.get(Path(found.folder), messages.StartRequest)
        return request.spec if request is not None else None
    return None


def _same(one: ProcessIdentity | None, other: ProcessIdentity | None) -> bool:
    return one is None or one == other


def _is_copy(storage: Storage, found: Endpoint) -> bool:
    """Whether the process lives in another run folder, of which this one is a copy."""
    with suppress(InputError, OSError):
        request = messages.get(Path(found.folder), messages.StartRequest)
        if request is not None and request.site_uri != storage.uri:
            holder = serving(Storage(request.site_uri))
            return holder is not None and _same(holder.process, found.process)
    return False


def _is_elsewhere(found: Endpoint) -> bool:
    # After a reboot the boot differs and the host does not; in a new container on one machine, the other way round.
    if not found.host or found.process is None:
        return False
    return found.host != socket.gethostname() and found.process.boot_id != this_process().boot_id


def _ask(url: str) -> tuple[Literal["ready", "not_ready", "unreachable"], str]:
    """Ask ``/ready``. Returns the state, and the problem in words."""
    # A proxy from the environment variables cannot reach this machine's loopback addresses.
    trust_env = not is_loopback(urlsplit(url).hostname or "")
    try:
        with httpx.Client(timeout=READY_TIMEOUT_S, trust_env=trust_env) as client:
            status = client.get(f"{url.rstrip('/')}/ready").status_code
    except httpx.TimeoutException:
        return "unreachable", f"/ready did not answer within {READY_TIMEOUT_S:g} s"
    except (httpx.HTTPError, OSError) as error:
        return "unreachable", f"/ready cannot be reached: {error}"
    return ("ready", "") if status == httpx.codes.OK else ("not_ready", f"/ready returns {status}")


def _replicas_ready(found: Endpoint) -> int | None:
    """Replicas that HAProxy routes to, from its admin socket in the endpoint's folder."""
    sockets = haproxy.admin_sockets(Path(found.folder) / "h") if found.folder and not found.address else []
    if not sockets:
        return None
    return sum(len(haproxy.routed_servers(path)) for path in sockets) // (2 if found.ports.get("grpc") else 1)


def _wanted(spec: ServeSpec | None) -> str:
    if spec is None:
        return ""
    low, high = spec.autoscaling.min_replicas, spec.autoscaling.max_replicas
    return str(low) if low == high else f"{low} to {high}"


def _age_s(process: ProcessIdentity | None) -> float | None:
    """Seconds since a process of this boot started, by the clock that the kernel counted its start in."""
    if process is None or not sys.platform.startswith("linux") or not alive(process):
        return None
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return round(max(0.0, now_s - process.start_ticks / os.sysconf("SC_CLK_TCK")), 1)


def _log_of(storage: Storage, found: Endpoint) -> str:
    """Path of the log, also after the run folder was moved."""
    if storage.is_local and found.log and not Path(found.log).exists():
        moved = Path(storage.uri) / Path(found.log).name
        return str(moved) if moved.exists() else found.log
    return found.log


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
