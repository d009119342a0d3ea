"""Change a live endpoint: promote a bundle, apply settings, return to an earlier bundle. Starts no endpoint.

In: the live endpoint, a bundle, and settings. Out: the `Endpoint` after the change. A bundle that is served already is
no change, so that a deployment that runs every hour does not use up the way back.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from lft_ray.config import ServeSpec
from lft_ray.errors import InputError, LftError, UnreachableError
from lft_ray.processes import alive
from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import messages
from lft_ray.serve.endpoint.changes import requested_autoscaling
from lft_ray.serve.endpoint.checks import check_bundle, check_hardware
from lft_ray.serve.endpoint.keys import hashed_keys
from lft_ray.serve.endpoint.locks import serving
from lft_ray.serve.endpoint.look import spec_of
from lft_ray.serve.waiting import wait_until

__all__ = ["Wanted", "change", "check_keys", "plan_change", "send", "version_or_none"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Settings that a command wants.

    Attributes:
        spec: settings of the experiment with the overrides of the command.
        given: keys of these overrides.
    """

    spec: ServeSpec
    given: tuple[str, ...] = ()


def change(live: Endpoint, storage: Storage, bundle_uri: str, wanted: Wanted, *, wait_s: float) -> Endpoint:
    """Promote a bundle on a live endpoint, and apply the settings that the user gave.

    Args:
        live: the endpoint.
        storage: its run folder.
        bundle_uri: URI of the bundle.
        wanted: settings of the command.
        wait_s: seconds until each step of the promotion must be decided.

    Raises:
        InputError: a given setting cannot change while the endpoint serves.
        UnreachableError: the endpoint does not respond.
    """
    request, note = plan_change(live, bundle_uri, wanted)
    request_keys = messages.get(Path(live.folder), messages.StartRequest)
    check_keys(wanted.spec, request_keys.key_hashes if request_keys is not None else [])
    if request.autoscaling is not None:
        check_hardware(wanted.spec.replace(autoscaling=request.autoscaling))
    if request.keep_bundle and request.autoscaling is None:
        return live.replace(state="ready", message=note)
    found = send(live, storage, request, wait_s=wait_s)
    return found.replace(message=note) if note and found.state == "ready" else found


def plan_change(live: Endpoint, bundle_uri: str, wanted: Wanted) -> tuple[messages.PromoteRequest, str]:
    """What is to be sent, and what the user is told about it. Pure but for reading the bundle."""
    running = spec_of(live) or wanted.spec
    autoscaling = requested_autoscaling(running, wanted.spec, wanted.given)
    request = messages.PromoteRequest(
        serial=0, bundle_uri=bundle_uri, rollout=wanted.spec.rollout, autoscaling=autoscaling
    )
    version, rules, notes = version_or_none(bundle_uri), wanted.spec.rollout, []
    if autoscaling is not None:
        limits = f"{autoscaling.min_replicas} to {autoscaling.max_replicas} replicas"
        notes.append(f"the autoscaling was applied: {limits}")
    if version is None:
        return request, "; ".join(notes)
    canary = live.canary if live.has_canary else None
    if (
        canary is not None
        and canary.version == version
        and (canary.share, canary.minutes)
        == (
            rules.canary_share,
            rules.canary_minutes,
        )
    ):
        return request.replace(keep_bundle=True), "; ".join([f"the canary of version {version} is running", *notes])
    if version == live.version:
        if canary is not None:
            notes.insert(0, f"the canary of version {canary.version} was ended")
            return request.replace(bundle_uri=None), "; ".join(notes)
        served = "it is served already" + ("" if notes else ", nothing was changed")
        return request.replace(keep_bundle=True), "; ".join([served, *notes])
    return request, "; ".join(notes)


def version_or_none(bundle_uri: str) -> str | None:
    """Version of a bundle; None where it cannot be opened, which the replicas then say in their words."""
    try:
        return check_bundle(bundle_uri)
    except LftError:
        return None


def check_keys(spec: ServeSpec, running: list[str]) -> None:
    """Refuse API keys that differ from those of the live endpoint; without any in the environment, it keeps its own.

    Raises:
        InputError: they differ.
    """
    wanted = hashed_keys(spec)
    if wanted and set(wanted) != set(running):
        raise InputError(
            f"the API keys in {spec.api_keys_env} are not those of the live endpoint, which cannot change them",
            fix=f"unset {spec.api_keys_env} to keep its keys, or `lft down` first and deploy with the new ones",
        )


def send(live: Endpoint, storage: Storage, request: messages.PromoteRequest, *, wait_s: float) -> Endpoint:
    """Send a request to the supervisor and wait for its decision. The caller holds the endpoint's command lock.

    Args:
        live: the endpoint.
        storage: its run folder.
        request: the request; its serial and its run folder are filled in here.
        wait_s: seconds that the supervisor may take for each step.

    Raises:
        UnreachableError: the supervisor is gone, in another container, or does not decide in time.
    """
    folder, process = Path(live.folder), live.process
    if process is None or not alive(process):
        raise UnreachableError(
            f"the endpoint of {storage.uri} is alive in another container, as {serving(storage)}",
            fix="run the command there",
        )
    serial = messages.next_serial(folder)
    messages.put(folder, request.replace(serial=serial, site_uri=storage.uri))
    os.kill(process.pid, signal.SIGHUP)

    def decided() -> Endpoint | None:
        response = messages.get(folder, messages.PromoteResponse)
        if response is not None and response.serial == serial:
            return response.endpoint
        if not alive(process):
            raise UnreachableError("the endpoint stopped during the change", fix=f"read {live.log}")
        return None

    # The supervisor may wait this long for each of its steps: comparison, canary or swap, and undoing them.
    endpoint = wait_until(decided, timeout_s=3 * wait_s)
    if endpoint is None:
        raise UnreachableError(
            f"the endpoint did not decide on the bundle within {3 * wait_s:.0f} s", fix=f"read {live.log}"
        )
    return endpoint
