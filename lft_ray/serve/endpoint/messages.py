"""Messages between ``lft deploy`` and the supervisor: small JSON files in the supervisor's folder.

In: a record. Out: the same record, read by the other process. Never a partially written file.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from lft_ray.config import AutoscalingSpec, RolloutSpec, ServeSpec
from lft_ray.errors import InputError
from lft_ray.processes import ProcessIdentity
from lft_ray.records import Endpoint, Record, ServedVersion
from lft_ray.serve.rollout.state import DesiredState

__all__ = [
    "ProcessTree", "PromoteRequest", "PromoteResponse", "ServingState", "StartRequest", "get", "next_serial", "put",
]  # fmt: skip

RecordT = TypeVar("RecordT", bound=Record)


class StartRequest(Record):
    """``start_request.json``: what to serve, and where to record the endpoint."""

    bundle_uri: str
    spec: ServeSpec
    site_uri: str
    """URI of the run folder, which holds ``endpoint.json``."""
    folder: str
    """Private folder of the supervisor."""
    log: str
    """Path of the log file; empty in the foreground."""
    wait_s: float
    """Seconds until the endpoint must be ready, and until each later change must be decided."""
    key_hashes: list[str] = Field(default_factory=list)
    """SHA-256 of the API keys. The supervisor never sees the keys."""


class PromoteRequest(Record):
    """``promote_request.json``, announced by SIGHUP: promote this bundle, or apply settings."""

    serial: int
    """Identifies the request: a counter, one higher than that of the request before."""
    bundle_uri: str | None
    """URI of the bundle; None: end the running canary, or else return to the previous bundle."""
    keep_bundle: bool = False
    """Change only the settings; ``bundle_uri`` is ignored."""
    autoscaling: AutoscalingSpec | None = None
    """Autoscaling to apply before the bundle; None: unchanged."""
    site_uri: str = ""
    """The run folder as the command found it: it may have been moved since the start."""
    rollout: RolloutSpec = RolloutSpec()
    """Canary, and how much worse the bundle may be."""


class PromoteResponse(Record):
    """``promote_response.json``: the result of a `PromoteRequest`."""

    serial: int
    """Serial of the request."""
    endpoint: Endpoint
    """The endpoint as recorded; with state ``rejected`` and the reason in ``message`` if the bundle was rejected."""


class ServingState(Record):
    """``serving_state.json``: all that the process with Ray must know to go on where its predecessor died."""

    port: int
    grpc_port: int | None
    endpoint: Endpoint
    """The endpoint as last recorded."""
    desired: DesiredState | None = None
    """What the replicas serve; None before the first bundle is up."""
    sources: dict[str, str] = Field(default_factory=dict)
    """Folder of our copy of a bundle -> URI that it was copied from."""
    history: list[ServedVersion] = Field(default_factory=list)
    """Earlier bundles to which a rollback can return, as our copies."""
    last_serial: int = 0
    """Serial of the latest promotion request."""
    failure: str = ""
    """Why the process with Ray ended."""


class ProcessTree(Record):
    """``process_tree.json``: the live descendants of the supervisor, for cleaning up if it is killed."""

    processes: list[ProcessIdentity]


_FILES: dict[type[Record], str] = {
    StartRequest: "start_request.json",
    PromoteRequest: "promote_request.json",
    PromoteResponse: "promote_response.json",
    ProcessTree: "process_tree.json",
    ServingState: "serving_state.json",
}


def put(folder: Path, record: Record) -> None:
    """Write a record to the file of its type, atomically."""
    path = folder / _FILES[type(record)]
    temporary = path.with_suffix(".tmp")
    temporary.write_text(record.model_dump_json(indent=1), encoding="utf-8")
    temporary.replace(path)


def get(folder: Path, kind: type[RecordT]) -> RecordT | None:
    """Read a record; None if it has not been written.

    Raises:
        InputError: the file was written by an incompatible version.
    """
    path = folder / _FILES[kind]
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise InputError(
            f"{path} cannot be read: {where}: {detail['msg']}",
            fix="use the version of lft_ray that started the endpoint, or `lft down` with that version and redeploy",
        ) from None


def next_serial(folder: Path) -> int:
    """Serial of the next promotion request. Only the command that holds the endpoint's lock may call this."""
    known = (get(folder, PromoteRequest), get(folder, PromoteResponse))
    return 1 + max((message.serial for message in known if message is not None), default=0)
