"""The supervisor of an endpoint: ``python -m lft_ray.serve.endpoint.supervisor <folder>``, two processes.

The first is a `Guardian`, without Ray, so that no death of Ray's can end it. The second, its child with the further
argument ``with-ray``, is the `Supervisor`: starts Ray and Serve, reports ready when HAProxy routes to every replica,
and promotes on SIGHUP (``promote_request.json``). In: ``start_request.json`` and ``serving_state.json`` in their
folder, and signals. Out: ``endpoint.json`` in the run folder. Never serves requests itself.
"""

import os
import queue
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from lft_ray.errors import InputError, LftError, UnreachableError
from lft_ray.records import Endpoint
from lft_ray.serve.cluster import haproxy, start
from lft_ray.serve.endpoint import leftovers, messages, process_tree
from lft_ray.serve.endpoint.bundle_copies import BundleCopies
from lft_ray.serve.endpoint.guardian import WITH_RAY, Guardian, first_state, log
from lft_ray.serve.endpoint.outcome import failure_of, recorded
from lft_ray.serve.endpoint.site import Site
from lft_ray.serve.patience import Patience
from lft_ray.serve.rollout.controller import RolloutController, RolloutResult
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus, rejection, version_of
from lft_ray.serve.waiting import wait_until

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

__all__ = ["Supervisor", "main"]

_WATCH_S = 2.0
"""Interval of health and canary checks."""
_REPLICAS_S = 4.0
"""Interval of looks at the replicas, for the log."""
_MOST_FAILED_LOOKS = 10
"""So many failed looks in a row, and Ray is started again."""
_STOP = frozenset({signal.SIGTERM, signal.SIGINT})


class Supervisor:
    """Runs Ray, Serve and the replicas of one endpoint, until it is killed or Ray dies.

    Args:
        request: the bundle, the configuration, and the folders.
        state: what an earlier supervisor of the endpoint has left; None: the endpoint is new.
    """

    def __init__(self, request: messages.StartRequest, state: messages.ServingState | None = None) -> None:
        self._request = request
        self._folder = Path(request.folder)
        self._site = Site(request.site_uri)
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping = False
        self._parent = os.getppid()
        self._state = state or first_state(request)
        if self._state.endpoint.spec is not None:
            # Autoscaling may have been changed since the start.
            self._request = request.replace(spec=self._state.endpoint.spec)
        self._port, self._grpc_port = self._state.port, self._state.grpc_port
        self._key_hashes = tuple(request.key_hashes)
        self._handle: DeploymentHandle[Any] | None = None
        self._rollout = RolloutController(self._apply, self._survey, history=self._state.history)
        self._last_serial = self._state.last_serial
        """Serial of the latest promotion request."""
        self._copies = BundleCopies(self._folder, self._state.sources)
        self._endpoint = self._state.endpoint
        self._replicas_seen = ""
        self._looked_at = 0.0

    def run(self) -> int:
        """Serve until Ray or the parent process dies. Returns the exit code."""
        started_at = time.monotonic()
        failure = ""
        self._catch_signals()
        process_tree.end_with_parent(signal.SIGTERM)
        try:
            self._publish()
            self._start()
            changes: dict[str, Any] = {"state": "ready"}
            if not self._endpoint.ready_after_s:
                changes["ready_after_s"] = round(time.monotonic() - started_at, 2)
            self._publish(**changes)
            log(f"ready at {self._endpoint.url}, version {self._endpoint.version}")
            self._resume_promotion()
            self._watch()
        except LftError as error:
            failure = str(error)
        except Exception as error:  # whatever Ray raises, the guardian must hear of it  # noqa: BLE001
            failure = str(failure_of(error, self._endpoint))
        if os.getppid() != self._parent:
            self._end_as_orphan()
        self._save(failure=failure)
        return 1

    def _end_as_orphan(self) -> None:
        """End the endpoint in place of its guardian, which was killed."""
        log("the supervisor was killed: the endpoint ends")
        tree = messages.get(self._folder, messages.ProcessTree)
        raylet = process_tree.end_all_but_raylet(tree.processes if tree is not None else [], str(self._folder))
        leftovers.remove_folder(self._folder, keep=self._request.log)
        self._site.write(self._endpoint.model_copy(update={"state": "stopped", "message": "its supervisor was killed"}))
        for process in raylet:
            with suppress(psutil.Error):
                process.kill()
        os._exit(1)

    # ------------------------------------------------------------ start

    def _start(self) -> None:
        spec = self._request.spec
        variables = start.prepare(self._folder, scales_to_zero=spec.autoscaling.min_replicas == 0)
        start.start_ray(self._folder)
        self._catch_signals()  # ray.init has replaced our handler for SIGTERM by its own
        desired = self._state.desired
        copy = desired.current if desired is not None else self._copies.add(self._request.bundle_uri, serial=0)
        host = self._request.spec.host
        with start.serve_starting(host, self._port, grpc_port=self._grpc_port, give_up=self._stop_requested):
            statuses = self._rollout.begin(copy)
            if desired is not None:
                # The way back that the predecessor had is still there; its canary has ended with its replicas.
                self._rollout.desired = self._rollout.desired.model_copy(update={"previous": desired.previous})
        if reason := rejection(statuses):
            raise LftError(f"the bundle is rejected: {reason}")
        ports_each = 1 if self._grpc_port is None else 2
        self._wait_until_routed(len(statuses) * ports_each, timeout_s=self._request.wait_s)
        names = ("METRICS", "STATS")
        ports = {"http": self._port, "grpc": self._grpc_port or 0}
        ports |= {n.lower(): int(variables.get(f"RAY_SERVE_HAPROXY_{n}_PORT", 0)) for n in names}
        self._endpoint = self._endpoint.model_copy(
            update={"version": version_of(statuses), "ports": {name: port for name, port in ports.items() if port}}
        )

    def _wait_until_routed(self, ports: int, *, timeout_s: float) -> None:
        # Serve reports RUNNING before HAProxy knows the replicas, and uses its slow Python proxy until then.
        folder = self._folder / "h"

        def is_routed() -> bool:
            sockets = haproxy.admin_sockets(folder)
            # Without HAProxy there is no socket, and the Python proxy already knows the replicas.
            return not sockets or sum(len(haproxy.routed_servers(path)) for path in sockets) >= ports

        if not wait_until(is_routed, timeout_s=timeout_s, give_up=self._stop_requested) and not self._stopping:
            raise UnreachableError(f"HAProxy does not route to all {ports} replica ports after {timeout_s:.0f} s")

    def _apply(self, desired: DesiredState) -> list[ReplicaStatus]:
        from lft_ray.serve.cluster import replicas

        self._handle = replicas.apply(self._request.spec, desired, key_hashes=self._key_hashes)
        patience = None if self._endpoint.state == "ready" else Patience(self._request.wait_s)
        return replicas.settle(
            self._handle,
            desired,
            timeout_s=self._request.wait_s,
            interrupted=self._stop_requested,
            patience=patience,
        )

    def _survey(self) -> list[ReplicaStatus]:
        from lft_ray.serve.cluster import replicas

        return replicas.survey(self._handle) if self._handle is not None else []

    # ------------------------------------------------------------ run

    def _watch(self) -> None:
        failed = 0
        while not self._stopping:
            try:
                self._watch_once()
                failed = 0
            except Exception as error:
                # Serve's controller may be away for some seconds, and the replicas serve without it.
                failed += 1
                if failed >= _MOST_FAILED_LOOKS:
                    raise
                log(f"the replicas cannot be looked at: {type(error).__name__}: {str(error).partition(chr(10))[0]}")

    def _watch_once(self) -> None:
        with suppress(queue.Empty):
            received = self._signals.get(timeout=_WATCH_S)
            if received == signal.SIGHUP:
                self._handle_promotion()
            else:
                self._stopping = True
                return
        result = self._rollout.check_canary()
        if result is not None:
            self._record(result)
        for line in self._copies.restore():
            log(line)
        self._look_at_replicas()

    def _look_at_replicas(self) -> None:
        """Log when the number of running replicas changes, or why one cannot start."""
        from lft_ray.serve.cluster import replicas

        if time.monotonic() - self._looked_at < _REPLICAS_S:
            return
        self._looked_at = time.monotonic()
        if self._site.keep(self._endpoint):
            log("the record of this endpoint was deleted, and has been written again")
        seen = replicas.describe()
        if seen != self._replicas_seen:
            if self._replicas_seen or not seen.endswith("running"):
                log(seen)
            self._replicas_seen = seen

    def _handle_promotion(self) -> None:
        try:
            request = messages.get(self._folder, messages.PromoteRequest)
        except InputError as error:
            # Written by another version of lft_ray: no reason to stop serving. Without its serial there is no response.
            self._rejected(error.message)
            return
        if request is None or request.serial <= self._last_serial:
            return
        self._last_serial = request.serial
        if self._site.find() is None and request.site_uri:
            self._site = Site(request.site_uri)  # copied to another disk, for instance
        self._save()  # a bundle that ends Ray must not be tried again by the next process
        try:
            endpoint = self._record(self._promote(request))
        except (LftError, OSError) as error:
            endpoint = self._rejected(str(error))
        messages.put(self._folder, messages.PromoteResponse(serial=request.serial, endpoint=endpoint))

    def _resume_promotion(self) -> None:
        """Decide on a promotion that was announced while there was nobody to decide it, or was not decided in time."""
        with suppress(InputError):
            request = messages.get(self._folder, messages.PromoteRequest)
            response = messages.get(self._folder, messages.PromoteResponse)
            if request is None or (response is not None and response.serial >= request.serial):
                return
            if request.serial <= self._last_serial:
                endpoint = self._rejected("the endpoint had to recover while it compared the bundle")
                messages.put(self._folder, messages.PromoteResponse(serial=request.serial, endpoint=endpoint))
                return
        self._handle_promotion()

    def _promote(self, request: messages.PromoteRequest) -> RolloutResult:
        if request.autoscaling is not None:
            spec = self._request.spec
            self._request = self._request.replace(spec=spec.replace(autoscaling=request.autoscaling))
            result = self._rollout.reapply()
            if result.kind == "rejected":
                self._request = self._request.replace(spec=spec)
                return result
            self._publish(spec=self._request.spec)
            if request.keep_bundle:
                return result
        if request.bundle_uri is None:
            return self._rollout.rollback()
        return self._rollout.promote(self._copies.add(request.bundle_uri, serial=request.serial), request.rollout)

    def _record(self, result: RolloutResult) -> Endpoint:
        """Record the result of a promotion, a rollback or a canary check."""
        if result.kind == "rejected":
            # The replicas only know our copies; the user knows where they came from.
            reason = result.reason
            for copy, source in self._copies.sources.items():
                reason = reason.replace(copy, source)
            self._delete_unused_bundles()
            return self._rejected(reason, canary=result.canary or self._endpoint.canary)
        if result.kind == "canary":
            canary = result.canary
            if canary is None or not canary.running:
                self._delete_unused_bundles()
            return self._publish(canary=canary or self._endpoint.canary, message=canary.note if canary else "")
        self._delete_unused_bundles()
        changes = recorded(result, self._endpoint, self._rollout, self._copies.sources)
        log(f"{changes['message'] or 'promoted'}, version {result.version}, previously {self._endpoint.version}")
        return self._publish(**changes)

    def _delete_unused_bundles(self) -> None:
        desired, history = self._rollout.desired, self._rollout.history
        needed = (desired.current, desired.previous, self._rollout.candidate, *(served.uri for served in history))
        self._copies.keep_only({path for path in needed if path})

    def _rejected(self, reason: str, **changes: Any) -> Endpoint:
        # The record is about the endpoint, which is still ready; only the response is about the rejected bundle.
        log(f"rejected: {reason}")
        return self._publish(message=f"the last promotion was rejected: {reason}", **changes).model_copy(
            update={"state": "rejected", "message": reason}
        )

    def _publish(self, **changes: Any) -> Endpoint:
        self._endpoint = self._endpoint.model_copy(update=changes)
        self._save()
        return self._site.write(self._endpoint)

    def _save(self, *, failure: str = "") -> None:
        """Write down what a successor of this process must know."""
        desired = self._rollout.desired if self._rollout.desired.current else self._state.desired
        update = {
            "endpoint": self._endpoint,
            "desired": desired,
            "sources": self._copies.sources,
            "history": list(self._rollout.history),
            "last_serial": self._last_serial,
            "failure": failure,
        }
        self._state = self._state.model_copy(update=update)
        with suppress(OSError):
            messages.put(self._folder, self._state)

    def _catch_signals(self) -> None:
        # SimpleQueue.put may be called from a handler that interrupts it; a threading.Event may not.
        for number in (*_STOP, signal.SIGHUP):
            signal.signal(number, lambda received, _: self._signals.put(received))

    def _stop_requested(self) -> bool:
        # Called during waits: only a signal to stop ends the wait; a promotion goes back into the queue.
        received = []
        with suppress(queue.Empty):
            while True:
                received.append(self._signals.get_nowait())
        for number in received:
            if number in _STOP:
                self._stopping = True
            else:
                self._signals.put(number)
        return self._stopping


def main(arguments: list[str]) -> int:
    """Run a process of the supervisor of the folder in ``arguments[0]``. Returns the exit code."""
    folder = Path(arguments[0])
    request = messages.get(folder, messages.StartRequest)
    if request is None:
        log(f"there is no start_request.json in {folder}")
        return 2
    if arguments[1:] != [WITH_RAY]:
        try:
            return Guardian(request).run()
        except InputError as error:  # another supervisor serves this run
            log(str(error))
            return error.exit_code
    code = Supervisor(request, messages.get(folder, messages.ServingState)).run()
    sys.stderr.flush()
    os._exit(code)  # Ray's own end can take a minute if its processes are gone; the guardian ends them anyhow


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
