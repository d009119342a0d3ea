"""The supervisor process of an endpoint: ``python -m lft_ray.serve.endpoint.supervisor <folder>``.

In: ``start_request.json`` in its folder, and signals. Out: ``endpoint.json`` in the run folder. Starts Ray and Serve,
reports ready when HAProxy routes to every replica, promotes on SIGHUP (``promote_request.json``), and on SIGTERM or
SIGINT terminates everything that it started. Never serves requests itself.
"""

import queue
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lft_ray.errors import InputError, LftError, UnreachableError
from lft_ray.processes import this_process
from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve import addresses
from lft_ray.serve.cluster import haproxy, start
from lft_ray.serve.cluster.environment import free_port
from lft_ray.serve.endpoint import messages, process_tree
from lft_ray.serve.endpoint.locks import EndpointSite
from lft_ray.serve.endpoint.outcome import failure_of, recorded
from lft_ray.serve.rollout.controller import RolloutController, RolloutResult
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus, rejection, version_of
from lft_ray.serve.waiting import wait_until

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

__all__ = ["Supervisor", "main"]

_WATCH_S = 2.0
"""Interval of health and canary checks."""
_DRAIN_S = 10.0
"""Seconds that requests in flight may take before shutdown goes on."""
_STOP = frozenset({signal.SIGTERM, signal.SIGINT})


class Supervisor:
    """Runs one endpoint from start to shutdown.

    Args:
        request: the bundle, the configuration, and the folders.
    """

    def __init__(self, request: messages.StartRequest) -> None:
        self._request = request
        self._folder = Path(request.folder)
        self._site = EndpointSite(request.site_uri, request.folder)
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping = False
        self._port = request.spec.port or free_port(request.spec.host)
        self._grpc_port = request.spec.grpc_port if request.spec.grpc_port != 0 else free_port(request.spec.host)
        self._key_hashes = tuple(request.key_hashes)
        self._handle: DeploymentHandle[Any] | None = None
        self._rollout = RolloutController(self._apply, self._survey)
        self._last_serial = 0
        """Serial of the latest promotion request."""
        self._sources: dict[str, str] = {}
        """Folder of our copy of a bundle -> URI that it was copied from."""
        self._endpoint = self._first_record()

    def _first_record(self) -> Endpoint:
        return Endpoint(
            url=addresses.url(self._request.spec.host, self._port),
            version="",
            process=this_process(),
            host=socket.gethostname(),
            ports={"http": self._port} | ({"grpc": self._grpc_port} if self._grpc_port else {}),
            state="starting",
            bundle_uri=self._request.bundle_uri,
            log=self._request.log,
            folder=str(self._folder),
            spec=self._request.spec,
        )

    def run(self) -> int:
        """Serve until a signal to stop. Returns the exit code: 0 after a requested shutdown, else that of the error."""
        started_at = time.monotonic()
        failure, code = "", 0
        self._site.take()
        self._catch_signals()
        process_tree.adopt_orphans()
        try:
            self._publish()
            self._start()
            self._publish(state="ready", ready_after_s=round(time.monotonic() - started_at, 2))
            _log(f"ready at {self._endpoint.url}, version {self._endpoint.version}")
            self._watch()
        except LftError as error:
            failure, code = ("", 0) if self._stopping else (str(error), error.exit_code)
        except Exception as error:  # whatever Ray raises, the record must state it and no process may be left behind
            problem = failure_of(error, self._endpoint)
            failure, code = str(problem), problem.exit_code
            if code == 1:
                raise
        finally:
            if failure:
                _log(failure)
            self._shut_down()
            self._publish(state="stopped", message=failure)
        return code

    # ------------------------------------------------------------ start

    def _start(self) -> None:
        variables = start.prepare(self._folder)
        start.start_ray(self._folder)
        self._catch_signals()  # ray.init has replaced our handler for SIGTERM by its own
        copy = self._copy_bundle(self._request.bundle_uri, serial=0)
        host = self._request.spec.host
        with start.serve_starting(host, self._port, grpc_port=self._grpc_port, give_up=self._stop_requested):
            statuses = self._rollout.begin(copy)
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
        return replicas.settle(self._handle, desired, timeout_s=self._request.wait_s, interrupted=self._stop_requested)

    def _survey(self) -> list[ReplicaStatus]:
        from lft_ray.serve.cluster import replicas

        return replicas.survey(self._handle) if self._handle is not None else []

    def _copy_bundle(self, uri: str, *, serial: int) -> str:
        # A replica that starts next month must find the bundle that is served today, even if the run folder changed.
        target = self._folder / "bundles" / str(serial)
        with Storage(uri).local_copy() as folder:
            shutil.copytree(folder, target)
        self._sources[str(target)] = uri
        return str(target)

    # ------------------------------------------------------------ run

    def _watch(self) -> None:
        while not self._stopping:
            processes = process_tree.descendants()
            if not process_tree.has_core(processes):
                raise LftError("Ray's core processes are gone", fix="`lft deploy` starts the endpoint again")
            messages.put(self._folder, messages.ProcessTree(processes=process_tree.identities(processes)))
            with suppress(queue.Empty):
                received = self._signals.get(timeout=_WATCH_S)
                if received == signal.SIGHUP:
                    self._handle_promotion()
                else:
                    self._stopping = True
                    continue
            result = self._rollout.check_canary()
            if result is not None:
                self._record(result)

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
        self._site.move_to(request.site_uri)
        try:
            endpoint = self._record(self._promote(request))
        except (LftError, OSError) as error:
            endpoint = self._rejected(str(error))
        messages.put(self._folder, messages.PromoteResponse(serial=request.serial, endpoint=endpoint))

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
        return self._rollout.promote(self._copy_bundle(request.bundle_uri, serial=request.serial), request.rollout)

    def _record(self, result: RolloutResult) -> Endpoint:
        """Record the result of a promotion, a rollback or a canary check."""
        if result.kind == "rejected":
            # The replicas only know our copies; the user knows where they came from.
            reason = result.reason
            for copy, source in self._sources.items():
                reason = reason.replace(copy, source)
            self._delete_unused_bundles()
            return self._rejected(reason, canary=result.canary or self._endpoint.canary)
        if result.kind == "canary":
            canary = result.canary
            if canary is None or not canary.running:
                self._delete_unused_bundles()
            return self._publish(canary=canary or self._endpoint.canary, message=canary.note if canary else "")
        self._delete_unused_bundles()
        changes = recorded(result, self._endpoint, self._rollout, self._sources)
        _log(f"{changes['message'] or 'promoted'}, version {result.version}, previously {self._endpoint.version}")
        return self._publish(**changes)

    def _delete_unused_bundles(self) -> None:
        desired = self._rollout.desired
        needed = {desired.current, self._rollout.candidate, *(served.uri for served in self._rollout.history)}
        for folder in (self._folder / "bundles").iterdir():
            if str(folder) not in needed:
                shutil.rmtree(folder, ignore_errors=True)
                self._sources.pop(str(folder), None)

    def _rejected(self, reason: str, **changes: Any) -> Endpoint:
        # The record is about the endpoint, which is still ready; only the response is about the rejected bundle.
        _log(f"rejected: {reason}")
        return self._publish(message=f"the last promotion was rejected: {reason}", **changes).model_copy(
            update={"state": "rejected", "message": reason}
        )

    # ------------------------------------------------------------ shutdown

    def _shut_down(self) -> None:
        self._drain()
        if "ray" in sys.modules:
            import ray

            with suppress(Exception):
                ray.shutdown()
        # ray.shutdown may leave HAProxy running, if its manager was killed first, and workers that are still exiting.
        process_tree.end(process_tree.descendants(), timeout_s=5.0)
        for path in self._folder.iterdir():
            if str(path) != self._request.log:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with suppress(OSError):
            self._folder.rmdir()

    def _drain(self) -> None:
        # Idle clients with open connections must not delay shutdown, so this waits for responses, not for connections.
        sockets = haproxy.admin_sockets(self._folder / "h")
        for path in sockets:
            haproxy.stop_accepting(path)
        wait_until(lambda: not any(map(haproxy.requests_in_flight, sockets)), timeout_s=_DRAIN_S, poll_s=0.05)

    def _publish(self, **changes: Any) -> Endpoint:
        self._endpoint = self._endpoint.model_copy(update=changes)
        return self._site.write(self._endpoint)

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


def _log(text: str) -> None:
    # The reader of the log may be gone, which must not prevent an orderly shutdown.
    with suppress(OSError):
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Run the supervisor of the folder in ``arguments[0]``. Returns the exit code."""
    request = messages.get(Path(arguments[0]), messages.StartRequest)
    if request is None:
        _log(f"there is no start_request.json in {arguments[0]}")
        return 2
    return Supervisor(request).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
