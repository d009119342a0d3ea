"""Checks before an endpoint is started. In: a bundle URI, a `ServeSpec`. Out: nothing, or an error with its fix."""

import socket
from pathlib import Path

from lft_ray.config import ServeSpec
from lft_ray.errors import InputError
from lft_ray.run.storage import Storage
from lft_ray.serve.addresses import is_loopback
from lft_ray.serve.endpoint.keys import hashed_keys
from lft_ray.system.limits import cores

__all__ = ["check_address", "check_bundle", "check_hardware", "with_absolute_key"]


def check_bundle(uri: str, spec: ServeSpec | None = None) -> str:
    """Verify a bundle or a cascade, and its signature if ``spec`` requires one. Returns its version.

    Raises:
        BundleError: it is damaged, or not signed with the required key.
        InputError: it is missing, or the key cannot be read.
    """
    from lft_ray.export.cascade import version_of
    from lft_ray.export.signature import read_public_key, verify_signature

    if not Storage(uri).exists():
        raise InputError(f"there is no bundle at {uri}", fix="`lft export RUN` creates one")
    with Storage(uri).local_copy() as folder:
        if spec is not None and spec.require_signature:
            verify_signature(folder, read_public_key(spec.require_signature))
        return version_of(folder)


def with_absolute_key(spec: ServeSpec) -> ServeSpec:
    """Make the path of ``require_signature`` absolute: the supervisor works in another folder."""
    if not spec.require_signature:
        return spec
    return spec.replace(require_signature=str(Path(spec.require_signature).expanduser().absolute()))


def check_address(spec: ServeSpec) -> None:
    """Refuse an IPv6 address, a public one without API keys, and a port in use. Raises `InputError`."""
    if ":" in spec.host:
        raise InputError(
            f"serve.host {spec.host} is an IPv6 address, and Ray Serve's servers listen on IPv4 only",
            fix="--set serve.host=127.0.0.1, or 0.0.0.0 behind a proxy that speaks IPv6",
        )
    if not is_loopback(spec.host) and not hashed_keys(spec):
        raise InputError(
            f"serve.host {spec.host} can be reached from other machines and there are no API keys",
            fix=f"set {spec.api_keys_env}=key1,key2 (or {spec.api_keys_env}_FILE=path) or use serve.host=127.0.0.1",
        )
    for name, port in (("port", spec.port), ("grpc_port", spec.grpc_port)):
        try:
            with socket.socket() as listener:
                # As HAProxy does: with this option a port in TIME_WAIT is free, and one with a listener is not.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((spec.host, port or 0))
        except OSError as error:
            raise InputError(
                f"cannot listen on {spec.host}:{port}: {error.strerror}", fix=f"--set serve.{name}=0 picks a free port"
            ) from None


def check_hardware(spec: ServeSpec) -> None:
    """Refuse more cores than this process may use. Raises `InputError`."""
    allowed = cores()
    replicas = max(1, spec.autoscaling.min_replicas)
    if replicas * spec.cpus_per_replica > allowed:
        raise InputError(
            f"{replicas} replicas (serve.autoscaling.min_replicas) x {spec.cpus_per_replica} cores "
            f"(serve.cpus_per_replica) do not fit into the {allowed} cores of this machine",
            fix="lower one of them, or deploy to a larger cluster with --address",
        )
