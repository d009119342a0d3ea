"""Deploy, roll back and stop an endpoint: starts its supervisor process, sends it requests, terminates it.

In: a run folder, a bundle, and a `ServeSpec`. Out: an `Endpoint`. Never imports Ray: the supervisor does.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lft_ray.config import ServeSpec
from lft_ray.errors import InputError, LftError, UnreachableError
from lft_ray.processes import ProcessIdentity, alive
from lft_ray.records import Bundle, Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.cluster.environment import import_path
from lft_ray.serve.endpoint import messages
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.checks import check_address, check_bundle, check_hardware, with_absolute_key
from lft_ray.serve.endpoint.keys import forget_keys, hashed_keys, without_keys
from lft_ray.serve.endpoint.leftovers import clean_up_dead, end_and_remove
from lft_ray.serve.endpoint.locks import one_command, release_command, served_last, serving
from lft_ray.serve.endpoint.look import presence, require_live, wait_started
from lft_ray.serve.endpoint.promote import Wanted, change, send
from lft_ray.serve.patience import Patience, cpu_s_below
from lft_ray.serve.waiting import wait_until
from lft_ray.system import scratch, signals
from lft_ray.system.text import quoted

__all__ = ["deploy", "down", "rollback"]

SUPERVISOR = "lft_ray.serve.endpoint.supervisor"
"""Module of the supervisor process."""
_EXIT_S = 5.0
"""Seconds after the end of a process in which the kernel gives its lock back."""
_LOCK_S = 60.0
"""Seconds in which a supervisor in the foreground takes its lock; it imports its modules first."""
_LOG_LINES = 15
"""Last lines of the log that go into the error message of a failed start."""


def deploy(
    run_uri: str | Path,
    bundle: Bundle | str,
    spec: ServeSpec,
    *,
    given: Sequence[str] = (),
    address: str | None = None,
    foreground: bool = False,
    wait_s: float = 120.0,
) -> Endpoint:
    """Serve a bundle. If the run has a live endpoint, promote the bundle there instead, without a restart.

    One command at a time changes the endpoint of a run: a second one waits until the first has ended, and promotes.

    Args:
        run_uri: run folder; ``endpoint.json`` is written there.
        bundle: record of the bundle, or the URI of its folder.
        spec: host, port and replicas, and the rules for a promotion.
        given: keys such as ``serve.autoscaling`` that the user has set explicitly: a live endpoint applies them, or
            they are refused. It keeps its own value of all others.
        address: an existing Ray cluster (``auto`` or ``host:port``); None: start a cluster for the endpoint.
        foreground: return only when the endpoint stops; its log goes to stderr.
        wait_s: seconds until the endpoint must be ready, or the promotion must be decided. A start gets as long again
            while its processes work, five times at most: on a busy machine all takes longer.

    Returns:
        The endpoint: ``ready``, with ``canary`` if one has started (the endpoint ends it without further calls, see
        `serve.rollout.canary`); ``rejected`` if a live endpoint rejected the bundle and keeps its current one, with the
        reason in ``message``; ``stopped`` at the end of ``foreground``. A bundle that is served already changes
        nothing, which ``message`` says.

    Raises:
        InputError: bad bundle, port in use, no API keys for a public address, too few cores, or a setting that a live
            endpoint cannot change.
        UnreachableError: the endpoint was not ready in time, or another command did not end in time.
    """
    storage = Storage(run_uri)
    uri, spec = bundle.uri if isinstance(bundle, Bundle) else bundle, with_absolute_key(spec)
    wanted = Wanted(spec, tuple(given))
    if address is not None:
        return _deploy_to_cluster(address, storage, uri, wanted, wait_s=wait_s)
    if storage.is_local and not storage.exists():
        _check_start(run_uri, uri, spec)  # before a folder is created
    with one_command(storage, "lft deploy"):
        live, where = wait_started(storage, wait_s=wait_s)
        if live is not None and where == "live":
            if foreground:
                found = f"{run_uri} has a live endpoint (process {live.pid})"
                raise InputError(found, fix=f"`lft down {quoted(str(run_uri))}`, or no --foreground")
            return change(live, storage, uri, wanted, wait_s=wait_s)
        if live is not None and where == "cluster":
            raise InputError(
                f"{run_uri} is served on the cluster at {live.address}",
                fix=f"add --address {live.address} to promote there, or `lft down {quoted(str(run_uri))}` first",
            )
        if live is not None and where == "elsewhere":
            raise _elsewhere(live, storage)
        if live is not None and where == "dead":
            clean_up_dead(live, storage)  # before the checks: what it left may hold the port
        _check_start(run_uri, uri, spec)
        return _launch(storage, uri, spec, foreground=foreground, wait_s=wait_s)


def _deploy_to_cluster(address: str, storage: Storage, uri: str, wanted: Wanted, *, wait_s: float) -> Endpoint:
    from lft_ray.serve.endpoint.existing_cluster import check_cluster_spec, deploy_to

    check_cluster_spec(wanted.spec)
    with one_command(storage, "lft deploy"):
        live, where = wait_started(storage, wait_s=wait_s)
        if live is not None and where in ("live", "elsewhere"):
            # Its record would be overwritten, and nobody could stop it any more.
            raise InputError(
                f"{storage.uri} has a live endpoint outside this cluster: process {live.pid} on {live.host}",
                fix=f"`lft down {quoted(storage.uri)}` there first",
            )
        if live is not None and where == "dead":
            clean_up_dead(live, storage)
        return deploy_to(address, storage, uri, wanted.spec, given=wanted.given, wait_s=wait_s)


def rollback(run_uri: str | Path, *, wait_s: float = 120.0) -> Endpoint:
    """End the canary of a live endpoint; without one, return to the bundle that it served before the current one.

    A second rollback goes one bundle further back, and never forward again.

    Args:
        run_uri: run folder.
        wait_s: seconds until every replica must serve the bundle.

    Returns:
        The endpoint, with both versions in ``message``; ``rejected`` if there is no earlier bundle.

    Raises:
        InputError: there is no live endpoint.
        UnreachableError: its process is gone, or it does not respond.
    """
    storage = Storage(run_uri)
    require_live(storage)
    with one_command(storage, "lft rollback"):
        live, where = wait_started(storage, wait_s=wait_s)
        if live is not None and where == "cluster":
            from lft_ray.serve.endpoint.existing_cluster import roll_back

            return roll_back(live, storage, wait_s=wait_s)
        if live is not None and where == "elsewhere":
            raise _elsewhere(live, storage)
        live = require_live(storage)
        if not live.has_canary and not live.history:
            reason = f"there is no earlier bundle to go back to: version {live.version} stays"
            return live.replace(state="rejected", message=reason)
        found = send(live, storage, messages.PromoteRequest(serial=0, bundle_uri=None), wait_s=wait_s)
        if live.canary is None or not live.has_canary or found.has_canary or found.state == "rejected":
            return found
        return found.replace(message=f"the canary of version {live.canary.version} was ended")


def down(run_uri: str | Path, *, wait_s: float = 60.0) -> Endpoint | None:
    """Stop the endpoint of a run: its supervisor and every process that it started, and no other.

    An endpoint that is starting is stopped, too. A damaged ``endpoint.json`` is no obstacle.

    Args:
        run_uri: run folder.
        wait_s: seconds until the supervisor must have exited.

    Returns:
        The stopped endpoint, or None if there was no live one.

    Raises:
        UnreachableError: the endpoint did not stop in time.
    """
    storage = Storage(run_uri)
    if storage.is_local and not storage.exists():
        return None
    stopped = _stop_supervisor(storage, wait_s=wait_s)
    # The command that was starting or changing it ends now; one that waited may start the next endpoint.
    with one_command(storage, "lft down", wait_s=wait_s):
        stopped = _stop_supervisor(storage, wait_s=wait_s) or stopped
        found = _readable_record(storage, stopped is not None)
        if found is None:
            return None
        where = presence(storage, found)
        if where == "cluster":
            from lft_ray.serve.endpoint.existing_cluster import delete_from

            return delete_from(found, storage)
        if where == "elsewhere":
            raise _elsewhere(found, storage)
        if where == "dead" and stopped is None:
            clean_up_dead(found, storage)
            return None
        if stopped is None or where == "copied":
            return None
        clean_up_dead(found, storage)  # whatever a supervisor that was killed meanwhile left
        return endpoints.write(storage, found.replace(state="stopped"))


def _stop_supervisor(storage: Storage, *, wait_s: float) -> ProcessIdentity | None:
    """End the supervisor that lives in a run folder, whatever its record says. Returns it; None without one."""
    holder = serving(storage)
    process = holder.process if holder is not None else None
    if holder is None:
        with suppress(InputError):
            found = endpoints.read(storage)
            process = found.process if found is not None and presence(storage, found) in ("live", "starting") else None
    if process is None:
        return None
    if alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
    elif not wait_until(lambda: not _holds(storage, process), timeout_s=_EXIT_S):
        raise UnreachableError(
            f"the endpoint of {storage.uri} is alive in another container, as {holder}", fix="run `lft down` there"
        )
    # A process whose main thread has ended holds its lock until its other threads have ended, too.
    if not wait_until(lambda: not alive(process) and not _holds(storage, process), timeout_s=wait_s):
        raise UnreachableError(
            f"process {process.pid} did not stop within {wait_s:.0f} s", fix=f"read {storage.uri_of('endpoint.log')}"
        )
    return process


def _holds(storage: Storage, process: ProcessIdentity) -> bool:
    holder = serving(storage)
    return holder is not None and holder.process == process


def _readable_record(storage: Storage, was_alive: bool) -> Endpoint | None:
    """The record; a damaged one of an endpoint whose process is known to be gone is set aside."""
    try:
        return endpoints.read(storage)
    except InputError as error:
        last = served_last(storage)
        if not storage.is_local or not (was_alive or last is not None) or serving(storage) is not None:
            # No lock tells whether the endpoint that wrote it has ended: it was of another version, or elsewhere.
            raise InputError(error.message, fix="stop the process that it names, and delete the file") from None
        path = Path(storage.uri) / endpoints.ENDPOINT_FILE
        path.rename(path.with_name(f"{path.name}.damaged"))
        if last is not None and last.folder:
            end_and_remove(Path(last.folder))
        return None


def _elsewhere(found: Endpoint, storage: Storage) -> InputError:
    return InputError(
        f"the endpoint of {storage.uri} runs on {found.host} (process {found.pid}), and this is {socket.gethostname()}",
        fix=f"run the command there; if that machine is gone, delete {storage.uri_of(endpoints.ENDPOINT_FILE)}",
    )


def _check_start(run_uri: str | Path, bundle_uri: str, spec: ServeSpec) -> None:
    """Check everything that can be checked before a process is started."""
    if spec.rollout.canary_share:
        raise InputError(
            f"{run_uri} has no live endpoint to compare a canary with", fix="deploy without --canary first"
        )
    check_bundle(bundle_uri, spec)
    check_hardware(spec)
    check_address(spec)


# ---------------------------------------------------------------- supervisor


def _launch(storage: Storage, bundle_uri: str, spec: ServeSpec, *, foreground: bool, wait_s: float) -> Endpoint:
    folder = endpoints.make_folder()
    if storage.is_local:
        Path(storage.uri).mkdir(parents=True, exist_ok=True)
    log = Path(storage.uri) / "endpoint.log" if storage.is_local else folder / "endpoint.log"
    request = messages.StartRequest(
        bundle_uri=bundle_uri,
        spec=spec,
        site_uri=storage.uri,
        folder=str(folder),
        log="" if foreground else str(log),
        wait_s=wait_s,
        key_hashes=list(hashed_keys(spec)),
    )
    messages.put(folder, request)
    # -P: a module of the user's working directory, such as secrets.py, must not replace one of Python.
    command = [sys.executable, "-P", "-m", SUPERVISOR, str(folder)]
    environment = without_keys(_variables(), spec)
    if foreground:
        forget_keys(spec)  # this process lives as long as the endpoint
        return _run_foreground(subprocess.Popen(command, start_new_session=True, env=environment), storage)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            start_new_session=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        with signals.at_leave(process.terminate):
            return _wait_ready(process, storage, log, wait_s=wait_s)
    except BaseException:
        _stop(process)
        raise


def _variables() -> dict[str, str]:
    return scratch.without(os.environ | {"PYTHONPATH": import_path()})


def _wait_ready(process: "subprocess.Popen[bytes]", storage: Storage, log: Path, *, wait_s: float) -> Endpoint:
    def ready() -> Endpoint | None:
        exited = process.poll() is not None  # before reading, so that its last record is not missed
        found = endpoints.read(storage)
        # The file may still hold the record of an earlier endpoint.
        own = found if found is not None and found.pid == process.pid else None
        if own is not None and own.state == "ready":
            return own
        if exited:
            reason = (own.message if own is not None else "") or _tail(log) or "it was stopped"
            if process.returncode == InputError.exit_code:
                raise InputError(f"the endpoint did not start: {reason}")
            raise LftError(f"the endpoint did not start: {reason}", fix=f"read {log}")
        return None

    patience = Patience(wait_s, lambda: cpu_s_below(process.pid))
    endpoint = wait_until(ready, timeout_s=float("inf"), give_up=patience.is_over)
    if endpoint is None:
        raise UnreachableError(f"the endpoint was not ready within {patience.waited_s:.0f} s", fix=f"read {log}")
    return endpoint


def _run_foreground(process: "subprocess.Popen[bytes]", storage: Storage) -> Endpoint:
    # The supervisor is in its own session, so a signal to this process must be forwarded to it.
    with signals.released():
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            # From here on its own lock tells other commands that it lives, and they may promote and stop it.
            wait_until(lambda: serving(storage) or process.poll() is not None, timeout_s=_LOCK_S)
            release_command(storage)
            code = process.wait()
        except KeyboardInterrupt:
            _stop(process)
            code = 0
        finally:
            signal.signal(signal.SIGTERM, before)
    found = endpoints.read(storage)
    if code != 0 or found is None:
        kind = InputError if code == InputError.exit_code else LftError
        raise kind(f"the endpoint failed: {found.message if found else f'exit code {code}'}")
    return found


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(lines[-_LOG_LINES:])
