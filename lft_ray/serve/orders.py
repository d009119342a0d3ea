"""What ``lft deploy`` and the supervisor tell each other: small JSON files in the supervisor's folder."""

from pathlib import Path
from typing import TypeVar

from lft_ray.config import RolloutSpec, ServeSpec
from lft_ray.delivery import Endpoint
from lft_ray.processes import ProcessIdentity
from lft_ray.records import Record

__all__ = ["Desired", "Family", "Order", "Reply", "get", "put"]

RecordT = TypeVar("RecordT", bound=Record)


class Order(Record):
    """``order.json``: what to serve, and where to write it down."""

    bundle_uri: str
    spec: ServeSpec
    site_uri: str
    """Folder of ``endpoint.json``."""
    folder: str
    log: str
    wait_s: float


class Desired(Record):
    """``desired.json``, announced by SIGHUP: promote this bundle."""

    serial: int
    bundle_uri: str | None
    """None: end a canary that runs, or go back to the bundle that served before the present one."""
    rollout: RolloutSpec = RolloutSpec()
    """What the bundle must show."""


class Reply(Record):
    """``reply.json``: what came of it."""

    serial: int
    endpoint: Endpoint


class Family(Record):
    """``family.json``: the living processes below the supervisor, for the case that it is killed."""

    processes: list[ProcessIdentity]


def put(folder: Path, record: Record) -> None:
    """Write a record under its class name, all or nothing."""
    path = _path(folder, type(record))
    temporary = path.with_suffix(".tmp")
    temporary.write_text(record.model_dump_json(indent=1), encoding="utf-8")
    temporary.replace(path)


def get(folder: Path, kind: type[RecordT]) -> RecordT | None:
    """Read a record, or None when it has not been written."""
    try:
        return kind.model_validate_json(_path(folder, kind).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _path(folder: Path, kind: type[Record]) -> Path:
    return folder / f"{kind.__name__.lower()}.json"
