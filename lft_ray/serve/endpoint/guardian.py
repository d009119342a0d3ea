"""The first process of an endpoint's supervisor: watches all others, starts again what died, and removes everything.

In: a `StartRequest` and signals. Out: ``endpoint.json`` while no `Supervisor` runs, and ``process_tree.json``. Never
imports Ray, whose death ends every process that is connected to it: this one must then still record, clean and restart.
"""

import fcntl
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from lft_ray.errors import InputError, LftError
from lft_ray.processes import ProcessIdentity, alive, this_process
from lft_ray.records import Endpoint
from lft_ray.serve import addresses
from lft_ray.serve.cluster import haproxy
from lft_ray.serve.cluster.environment import free_port, haproxy_binary
from lft_ray.serve.cluster.front import Front, write_files
from lft_ray.serve.cluster.haproxy_launcher import Launch
from lft_ray.serve.endpoint import leftovers, messages, process_tree
from lft_ray.serve.endpoint.locks import EndpointSite
from lft_ray.serve.endpoint.outcome import failure_of
from lft_ray.serve.http.errors import REQUEST_ID_PATTERN
from lft_ray.serve.patience import Patience
from lft_ray.serve.waiting import wait_until

__all__ = ["WITH_RAY", "Guardian", "first_state", "log"]

WITH_RAY = "with-ray"
"""Argument of the process that connects to Ray."""
_TICK_S = 0.5
"""Interval of looks at the processes and the port."""
_TREE_S = 2.0
"""Interval of writing down the processes, for whoever cleans up if this one is killed."""
_TOUCH_S = 3600.0
"""Interval of touching the private files, which cleaners of /tmp would remove after some days."""
_DRAIN_S = 10.0
"""Seconds that requests in flight may take before shutdown goes on."""
_START_EXTRA_S = 90.0
"""Seconds that Ray and Serve may take to start, besides those of the replicas."""
_MOST_RESTARTS = 5
_RESTARTS_WITHIN_S = 600.0
"""So many restarts in so many seconds end the endpoint: what dies at once every time needs a human."""
_SETTLED_S = 60.0
"""A life that served for so long ended for a reason of its own: the restarts before it no longer count."""
_SILENT_LOOKS = 3
"""A HAProxy that accepts connections and does not answer for so many looks of 2 s hangs."""
_LAST_WORDS_S = 2.0
"""Seconds that the process with Ray has to say why it ends."""
_RAY_FAILED = ("Ray's ", "timed out during startup")
_LINES = 3
_FATAL = re.compile(r"Check failed|\] .*fatal|^\[\S+ \S+ [CF] ", re.IGNORECASE)
_LINE_CHARS = 300
_PORT_TAKEN = ("cannot bind", "Address already in use", "Failed to bind to address")
"""Words of HAProxy, of Ray's core, and of gRPC."""


def log(text: str) -> None:
    """Write a line with the time to the log of the endpoint."""
    # The reader of the log may be gone, which must not prevent an orderly shutdown.
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        sys.stderr.flush()


def _last_lines(logs: Path) -> list[str]:
    """The last lines of the logs of Ray's core processes: the only place where they say why they ended."""
    found = []
    for name in ("raylet.out", "raylet.err", "gcs_server.out", "gcs_server.err"):
        with suppress(OSError):
            lines = (logs / name).read_text(encoding="utf-8", errors="replace").splitlines()
            # A fatal line, and not the addresses of the stack below it.
            fatal = [line for line in lines if _FATAL.search(line)]
            found += [f"{name}: {line[:_LINE_CHARS]}" for line in fatal or lines if line.strip()][-_LINES:]
    return found


def first_state(request: messages.StartRequest) -> messages.ServingState:
    """The state of an endpoint that has not started: its ports and its first record."""
    spec = request.spec
    port = spec.port or free_port(spec.host)
    grpc_port = spec.grpc_port if spec.grpc_port != 0 else free_port(spec.host)
    endpoint = Endpoint(
        url=addresses.url(spec.host, port),
        version="",
        process=this_process(),
        host=socket.gethostname(),
        ports={"http": port} | ({"grpc": grpc_port} if grpc_port else {}),
        state="starting",
        bundle_uri=request.bundle_uri,
        log=request.log,
        folder=request.folder,
        spec=spec,
    )
    return messages.ServingState(port=port, grpc_port=grpc_port, endpoint=endpoint)


class Guardian:
    """Keeps one endpoint alive, from start to shutdown.

    Args:
        request: the bundle, the configuration, and the folders.
        program: module of the process with Ray.
    """

    def __init__(self, request: messages.StartRequest, *, program: str = "lft_ray.serve.endpoint.supervisor") -> None:
        self._request = request
        self._program = program
        self._folder = Path(request.folder)
        self._site = EndpointSite(request.site_uri, request.folder)
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping = False
        self._promotion_waits = False
        self._state = first_state(request)
        self._child: subprocess.Popen[bytes] | None = None
        self._front: Front | None = None
        self._restarts: list[float] = []
        """Times of the restarts since the endpoint last served for a while, in seconds of the monotonic clock."""
        self._ready_at: float | None = None
        """When the present life was first seen ready, in seconds of the monotonic clock."""
        self._silent = 0
        self._done_at: dict[str, float] = {}

    def run(self) -> int:
        """Serve until a signal to stop. Returns the exit code: 0 after a requested shutdown, else that of the error.

        Raises:
            InputError: another supervisor serves this run; nothing was touched.
        """
        self._site.take()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _: self._signals.put(received))
        process_tree.adopt_orphans()
        failure, code = "", 1
        try:
            self._lock_folder()
            self._publish()
            self._hold_port()
            while failure := self._serve():
                if not self._may_restart(failure):
                    break
                self._recover(failure)
                failure = ""
        except LftError as error:
            failure, code = str(error), error.exit_code
        except Exception as error:  # the record must state it, and no process may be left behind
            failure = str(failure_of(error, self._state.endpoint))
            raise
        finally:
            failure = "" if self._stopping else failure
            if failure:
                log(failure)
            self._shut_down()
            self._publish(state="stopped", message=failure)
        if any(words in failure for words in _PORT_TAKEN):
            code = InputError.exit_code
        return code if failure else 0

    # ------------------------------------------------------------ one life of Ray

    def _serve(self) -> str:
        """Run a process with Ray until it ends or a signal to stop. Returns why it ended; empty: on request."""
        self._tell_site()
        command = [sys.executable, "-P", "-m", self._program, str(self._folder), WITH_RAY]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        patience = Patience(self._request.wait_s + _START_EXTRA_S)
        core: list[tuple[str, ProcessIdentity]] = []
        was_ready = False
        while True:
            with suppress(queue.Empty):
                received = self._signals.get(timeout=_TICK_S)
                if received != signal.SIGHUP:
                    self._stopping = True
                    return ""
                self._promotion_waits = True
                self._follow_site()
            self._read_state()
            is_ready = self._state.endpoint.state == "ready"
            self._ready_at = (self._ready_at or time.monotonic()) if is_ready else None
            processes = process_tree.descendants()
            # By identity: a list of processes that is made while some of them end may lack others.
            if not core or (is_ready and not was_ready):  # its agents start after the raylet
                core = process_tree.core(processes) or core
            was_ready = is_ready
            if dead := [name for name, identity in core if not alive(identity)]:
                # A raylet whose agent died takes HAProxy along before it ends, and the last words take seconds.
                if self._front is not None and self._front.probe() == "refused":
                    self._hold_port_meanwhile()
                return self._after_death(dead)
            if self._child.poll() is not None:
                return self._after_death([])
            if not is_ready and patience.is_over():
                return f"the endpoint was not ready within {patience.waited_s:.0f} s"
            if is_ready and self._promotion_waits:
                self._promotion_waits = False
                self._child.send_signal(signal.SIGHUP)
            self._look_at_port(processes)
            self._keep_house(processes)

    def _after_death(self, dead: list[str]) -> str:
        """Why the process with Ray ended, or these of Ray's core: in its own words; without any, Ray's are logged."""
        assert self._child is not None
        child = self._child
        wait_until(lambda: child.poll() is not None, timeout_s=_LAST_WORDS_S)
        self._read_state()
        if self._state.failure:
            return self._state.failure
        for line in _last_lines(self._folder / "r" / "session_latest" / "logs"):
            log(f"Ray: {line}")
        return (
            f"Ray's {' and '.join(dead)} ended" if dead else f"the process with Ray ended with code {child.returncode}"
        )

    def _look_at_port(self, processes: list[psutil.Process]) -> None:
        """Start the stand-in if nothing answers on the port."""
        front = self._front
        if front is None:
            return
        front.reap()
        found = front.probe()
        if found == "refused":
            time.sleep(0.05)  # once more: HAProxy may just have been replaced by one with a newer configuration
            found = front.probe()
        self._silent = self._silent + 1 if found == "silent" else 0
        if found == "answers" or (found == "silent" and self._silent < _SILENT_LOOKS):
            return
        log("HAProxy hangs and is replaced" if found == "silent" else "HAProxy is gone: a stand-in takes its port")
        for process in process_tree.named(processes, "haproxy") if found == "silent" else []:
            with suppress(psutil.Error):
                process.kill()
        self._silent = 0
        if problem := front.stand_in(self._launch(), message="no replica is available", with_replicas=True):
            log(f"the stand-in cannot start: {problem}")

    def _keep_house(self, processes: list[psutil.Process]) -> None:
        if self._is_due("tree", _TREE_S):
            process_tree.reap_zombies(keep=self._own_children())
            with suppress(OSError):
                messages.put(self._folder, messages.ProcessTree(processes=process_tree.identities(processes)))
        if self._is_due("touch", _TOUCH_S):
            for path in self._folder.rglob("*"):
                with suppress(OSError):
                    os.utime(path, follow_symlinks=False)

    def _is_due(self, name: str, every_s: float) -> bool:
        now = time.monotonic()
        if now - self._done_at.get(name, -every_s) < every_s:
            return False
        self._done_at[name] = now
        return True

    def _own_children(self) -> list[int]:
        child = [self._child.pid] if self._child is not None else []
        return [*child, *([self._front.pid] if self._front is not None else [])]

    # ------------------------------------------------------------ restarts

    def _may_restart(self, failure: str) -> bool:
        was_ready = bool(self._state.endpoint.ready_after_s)
        now = time.monotonic()
        if self._ready_at is not None and now - self._ready_at >= _SETTLED_S:
            self._restarts = []
        self._ready_at = None
        self._restarts = [at for at in self._restarts if now - at < _RESTARTS_WITHIN_S]
        if not was_ready:
            # A bundle or a setting that is wrong stays so; but a port may be free, and a busy machine idle, next time.
            return len(self._restarts) < 2 and any(words in failure for words in (*_PORT_TAKEN, *_RAY_FAILED))
        if len(self._restarts) < _MOST_RESTARTS:
            return True
        log(f"{_MOST_RESTARTS} restarts within {_RESTARTS_WITHIN_S / 60:.0f} minutes: the endpoint ends")
        return False

    def _recover(self, failure: str) -> None:
        """Remove what is left of Ray, while the stand-in answers, and wait longer with each attempt."""
        attempt = len(self._restarts)
        self._restarts.append(time.monotonic())
        was_ready = bool(self._state.endpoint.ready_after_s)
        log(f"{failure}; Ray is started again, attempt {attempt + 1} of {_MOST_RESTARTS}")
        self._publish(state="recovering" if was_ready else "starting", message=failure)
        self._hold_port_meanwhile()
        process_tree.end_all(process_tree.CORE, keep=self._front.pid if self._front is not None else 0, timeout_s=2.0)
        self._collect_child()
        (self._folder / "h" / "last.cfg").unlink(missing_ok=True)
        for stale in haproxy.admin_sockets(self._folder / "h"):
            if stale.name != "stand-in.sock":
                stale.unlink(missing_ok=True)
        wait_until(self._stop_requested, timeout_s=float(2**attempt - 1), poll_s=0.2)

    def _stop_requested(self) -> bool:
        with suppress(queue.Empty):
            while True:
                received = self._signals.get_nowait()
                self._promotion_waits |= received == signal.SIGHUP
                if received != signal.SIGHUP:
                    self._signals.put(received)
                    return True
        return False

    def _collect_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    # ------------------------------------------------------------ the port

    def _launch(self) -> Launch:
        """Settings of a stand-in; the ports of HAProxy's pages are those of Serve's HAProxy alone."""
        is_elastic = self._request.spec.autoscaling.min_replicas == 0
        return Launch(haproxy_binary() or "", str(self._folder / "h"), 0, 0, REQUEST_ID_PATTERN, is_elastic)

    def _hold_port_meanwhile(self) -> None:
        """Let a stand-in answer on the port while there is no Ray."""
        front = self._front
        message = "the endpoint is recovering" if self._state.endpoint.ready_after_s else "the endpoint is starting"
        if front is None:
            return
        pids = [process.pid for process in process_tree.named(process_tree.descendants(), "haproxy")]
        says_so = not front.has_replicas and front.message == message
        if pids == [front.pid] and says_so and front.probe() == "answers":
            return  # it holds the port already: another one in its place would close the port for a moment
        if problem := front.stand_in(self._launch(), message=message, replaces=pids):
            log(f"the stand-in cannot start: {problem}")

    def _hold_port(self) -> None:
        """Listen on the ports from the first moment on: Serve's HAProxy takes them over once it is up."""
        if haproxy_binary() is None:
            return
        folder = self._folder / "h"
        folder.mkdir(exist_ok=True)
        write_files(folder, self._launch())
        spec = self._request.spec
        for _ in range(3):
            self._front = Front(folder, spec.host, self._state.port, self._state.grpc_port)
            problem = self._front.stand_in(self._launch(), message="the endpoint is starting")
            if not problem:
                return
            self._front = None
            if not any(words in problem for words in _PORT_TAKEN) or (spec.port and spec.grpc_port != 0):
                break
            self._state = first_state(self._request)  # a port that was free a moment ago is taken: draw again
            self._publish()
        reason = next((line for line in problem.splitlines() if "ALERT" in line), problem)
        raise LftError(
            f"cannot listen on {spec.host}: {reason.partition(': ')[2] or reason}",
            fix="--set serve.port=0 picks a free port",
        )

    # ------------------------------------------------------------ shutdown

    def _shut_down(self) -> None:
        # Clients get their responses, and hear that their connections close, before anything ends.
        sockets = haproxy.admin_sockets(self._folder / "h")
        self._read_state()
        if self._stopping:
            haproxy.drain(sockets, timeout_s=_DRAIN_S)
        process_tree.end_all(process_tree.CORE, timeout_s=3.0)
        self._collect_child()
        if self._front is not None:
            self._front.stop()
        leftovers.remove_folder(self._folder, keep=self._request.log)

    # ------------------------------------------------------------ records

    def _lock_folder(self) -> None:
        # systemd-tmpfiles leaves alone what is in a folder with a lock. The descriptor stays open until the end.
        with suppress(OSError):
            fcntl.flock(os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)

    def _follow_site(self) -> None:
        """Use the run folder in which a command found the endpoint, if its own was moved to another disk."""
        with suppress(InputError, OSError):
            request = messages.get(self._folder, messages.PromoteRequest)
            if request is not None and not self._site.storage.exists():
                self._site.move_to(request.site_uri)

    def _tell_site(self) -> None:
        """Tell the next process with Ray where the run folder is: it may have been moved since the start."""
        uri = self._site.storage.uri
        if uri != self._request.site_uri:
            self._request = self._request.replace(site_uri=uri)
            with suppress(OSError):
                messages.put(self._folder, self._request)

    def _read_state(self) -> None:
        with suppress(InputError, OSError):
            self._state = messages.get(self._folder, messages.ServingState) or self._state

    def _publish(self, **changes: Any) -> None:
        """Record the endpoint. Only while no process with Ray runs, which does this otherwise."""
        self._state = self._state.model_copy(
            update={"endpoint": self._state.endpoint.model_copy(update=changes), "failure": ""}
        )
        if self._folder.is_dir():
            with suppress(OSError):
                messages.put(self._folder, self._state)
        self._site.write(self._state.endpoint)
