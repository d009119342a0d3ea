"""What ``lft deploy`` and the supervisor tell each other: small JSON files in the supervisor's folder.

In: a record. Out: the same record, read by the other process. Never half a file.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.errors import InputError
from lft_ray.processes import ProcessIdentity
from lft_ray.records import Endpoint, Record

__all__ = ["ProcessTree", "PromoteRequest", "PromoteResponse", "StartRequest", "get", "put"]

RecordT = TypeVar("RecordT", bound=Record)


class StartRequest(Record):
    """``start_request.json``: what to serve, and where to write it down."""

    bundle_uri: str
    spec: ServeSpec
    site_uri: str
    """Folder of ``endpoint.json``."""
    folder: str
    """The supervisor's own folder."""
    log: str
    """Path of its log file; empty in the foreground."""
    wait_s: float
    """Seconds until the endpoint must be ready, and each later change decided."""


class PromoteRequest(Record):
    """``promote_request.json``, announced by SIGHUP: promote this bundle."""

    serial: int
    bundle_uri: str | None
    """None: end a canary that runs, or go back to the bundle that served before the present one."""
    rollout: RolloutSpec = RolloutSpec()
    """What the bundle must show."""


class PromoteResponse(Record):
    """``promote_response.json``: what became of the endpoint."""

    serial: int
    """Of the request."""
    endpoint: Endpoint
    """As it is written down; ``rejected`` with the reason in ``message`` where the bundle was not taken."""


class ProcessTree(Record):
    """``process_tree.json``: the living processes below the supervisor, for the case that it is killed."""

    processes: list[ProcessIdentity]


_FILES: dict[type[Record], str] = {
    StartRequest: "start_request.json",
    PromoteRequest: "promote_request.json",
    PromoteResponse: "promote_response.json",
    ProcessTree: "process_tree.json",
}


def put(folder: Path, record: Record) -> None:
    """Write a record into the file of its kind, all or nothing."""
    path = folder / _FILES[type(record)]
    temporary = path.with_suffix(".tmp")
    temporary.write_text(record.model_dump_json(indent=1), encoding="utf-8")
    temporary.replace(path)


def get(folder: Path, kind: type[RecordT]) -> RecordT | None:
    """Read a record, or None when it has not been written.

    Raises:
        InputError: the file is of another version.
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
            fix="use the version of lft_ray that started the endpoint, or `lft down` with that version and deploy anew",
        ) from None
