"""Deploy, roll back and stop an endpoint: starts its supervisor process, sends it requests, terminates it.

In: a run folder, a bundle, and a `ServeSpec`. Out: an `Endpoint`. Never imports Ray: the supervisor does.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.errors import InputError, LftError, UnreachableError
from lft_ray.records import Bundle, Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.cluster.environment import import_path
from lft_ray.serve.endpoint import messages
from lft_ray.serve.endpoint import record as endpoints
from lft_ray.serve.endpoint.checks import check_address, check_bundle
from lft_ray.serve.endpoint.leftovers import clean_up_dead
from lft_ray.serve.waiting import wait_until

__all__ = ["deploy", "down", "rollback"]

_LOG_LINES = 15
"""Last lines of the log that go into the error message of a failed start."""


def deploy(
    run_uri: str | Path,
    bundle: Bundle | str,
    spec: ServeSpec,
    *,
    address: str | None = None,
    foreground: bool = False,
    wait_s: float = 120.0,
) -> Endpoint:
    """Serve a bundle. If the run has a live endpoint, promote the bundle there instead, without a restart.

    Args:
        run_uri: run folder; ``endpoint.json`` is written there.
        bundle: record of the bundle, or the URI of its folder.
        spec: host, port and replicas, which a live endpoint ignores, and the rules for a promotion.
        address: an existing Ray cluster (``auto`` or ``host:port``); None: start a cluster for the endpoint.
        foreground: return only when the endpoint stops; its log goes to stderr.
        wait_s: seconds until the endpoint must be ready, or the promotion must be decided.

    Returns:
        The endpoint: ``ready``, with ``canary`` if one has started (the endpoint ends it without further calls, see
        `serve.rollout.canary`); ``rejected`` if a live endpoint rejected the bundle and keeps its current one, with the
        reason in ``message``; ``stopped`` at the end of ``foreground``.

    Raises:
        InputError: bad bundle, port in use, no API keys for a public address, or too few cores.
        UnreachableError: the endpoint was not ready in time.
    """
    storage = Storage(run_uri)
    uri = bundle.uri if isinstance(bundle, Bundle) else bundle
    if address is not None:
        from lft_ray.serve.endpoint.existing_cluster import deploy_to

        return deploy_to(address, storage, uri, spec, wait_s=wait_s)
    live = endpoints.read(storage)
    if live is not None and endpoints.is_alive(live):
        return _request_promotion(live, uri, spec.rollout, wait_s=wait_s)
    if spec.rollout.canary_share:
        raise InputError(
            f"{run_uri} has no live endpoint to compare a canary with", fix="deploy without --canary first"
        )
    check_bundle(uri)
    _check_hardware(spec)
    if live is not None and live.state != "stopped" and not live.address:
        clean_up_dead(live, storage)  # its leftovers may hold the port
    check_address(spec)
    return _launch(storage, uri, spec, foreground=foreground, wait_s=wait_s)


def rollback(run_uri: str | Path, *, wait_s: float = 120.0) -> Endpoint:
    """End the canary of a live endpoint; without one, return to its previous bundle.

    Args:
        run_uri: run folder.
        wait_s: seconds until every replica must serve the bundle.

    Returns:
        The endpoint; ``rejected`` if there is no previous bundle.

    Raises:
        InputError: there is no live endpoint.
    """
    storage = Storage(run_uri)
    live = endpoints.read(storage)
    if live is not None and live.address and live.state != "stopped":
        from lft_ray.serve.endpoint.existing_cluster import roll_back

        return roll_back(live, storage, wait_s=wait_s)
    if live is None or not endpoints.is_alive(live):
        raise InputError(f"{run_uri} has no live endpoint", fix=f"`lft deploy {run_uri}` starts one")
    return _request_promotion(live, None, RolloutSpec(), wait_s=wait_s)


def down(run_uri: str | Path, *, wait_s: float = 60.0) -> Endpoint | None:
    """Stop the endpoint of a run: its supervisor and every process that it started, and no other.

    Args:
        run_uri: run folder.
        wait_s: seconds until the supervisor must have exited.

    Returns:
        The stopped endpoint, or None if there was no live one.

    Raises:
        UnreachableError: the endpoint did not stop in time.
    """
    storage = Storage(run_uri)
    live = endpoints.read(storage)
    if live is None or live.state == "stopped":
        return None
    if live.address:
        from lft_ray.serve.endpoint.existing_cluster import delete_from

        return delete_from(live, storage)
    if not endpoints.is_alive(live):
        clean_up_dead(live, storage)  # the supervisor was killed, and could not
        return None
    os.kill(live.pid, signal.SIGTERM)
    with suppress(psutil.Error):
        psutil.wait_procs([psutil.Process(live.pid)], timeout=wait_s)
    if endpoints.is_alive(live):
        raise UnreachableError(f"process {live.pid} did not stop within {wait_s:.0f} s", fix=f"read {live.log}")
    stopped = endpoints.read(storage) or live
    return endpoints.write(storage, stopped.model_copy(update={"state": "stopped"}))


# ---------------------------------------------------------------- checks


def _check_hardware(spec: ServeSpec) -> None:
    cores = os.cpu_count() or 1
    replicas = max(1, spec.autoscaling.min_replicas)
    if replicas * spec.cpus_per_replica > cores:
        raise InputError(
            f"{replicas} replicas (serve.autoscaling.min_replicas) x {spec.cpus_per_replica} cores "
            f"(serve.cpus_per_replica) do not fit into the {cores} cores of this machine",
            fix="lower one of them, or deploy to a larger cluster with --address",
        )


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
    )
    messages.put(folder, request)
    command = [sys.executable, "-m", "lft_ray.serve.endpoint.supervisor", str(folder)]
    if foreground:
        return _run_foreground(
            subprocess.Popen(command, start_new_session=True, env=os.environ | {"PYTHONPATH": import_path()}), storage
        )
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": import_path()},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        return _wait_ready(process, storage, log, wait_s=wait_s)
    except BaseException:
        _stop(process)
        raise


def _wait_ready(process: "subprocess.Popen[bytes]", storage: Storage, log: Path, *, wait_s: float) -> Endpoint:
    def ready() -> Endpoint | None:
        exited = process.poll() is not None  # before reading, so that its last record is not missed
        found = endpoints.read(storage)
        # The file may still hold the record of an earlier endpoint.
        own = found if found is not None and found.pid == process.pid else None
        if own is not None and own.state == "ready":
            return own
        if exited:
            reason = (own.message if own is not None else "") or _tail(log)
            raise LftError(f"the endpoint did not start: {reason}", fix=f"read {log}")
        return None

    endpoint = wait_until(ready, timeout_s=wait_s)
    if endpoint is None:
        raise UnreachableError(f"the endpoint was not ready within {wait_s:.0f} s", fix=f"read {log}")
    return endpoint


def _run_foreground(process: "subprocess.Popen[bytes]", storage: Storage) -> Endpoint:
    # The supervisor is in its own session, so signals to this process must be forwarded to it.
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _stop(process)
        code = 0
    finally:
        signal.signal(signal.SIGTERM, before)
    found = endpoints.read(storage)
    if code != 0 or found is None:
        raise LftError(f"the endpoint failed: {found.message if found else f'exit code {code}'}")
    return found


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(lines[-_LOG_LINES:])


def _request_promotion(live: Endpoint, bundle_uri: str | None, rollout: RolloutSpec, *, wait_s: float) -> Endpoint:
    folder = Path(live.folder)
    serial = int(time.time() * 1000)  # higher than that of any earlier request
    messages.put(folder, messages.PromoteRequest(serial=serial, bundle_uri=bundle_uri, rollout=rollout))
    os.kill(live.pid, signal.SIGHUP)

    def decided() -> Endpoint | None:
        response = messages.get(folder, messages.PromoteResponse)
        if response is not None and response.serial == serial:
            return response.endpoint
        if not endpoints.is_alive(live):
            raise UnreachableError("the endpoint stopped during the promotion", fix=f"read {live.log}")
        return None

    # The supervisor may wait this long for each of its steps: comparison, canary or swap, and undoing them.
    endpoint = wait_until(decided, timeout_s=3 * wait_s)
    if endpoint is None:
        raise UnreachableError(
            f"the endpoint did not decide on the bundle within {3 * wait_s:.0f} s", fix=f"read {live.log}"
        )
    return endpoint
