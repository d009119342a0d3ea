"""Read and write the JSON files of a run: strictly, with paths relative to the run folder.

In: the storage of a run folder, a file name, a record. Out: the record, or an error that names the file, what is wrong
with it, and what to do. NaN, repeated keys, other encodings and impossible values are errors, never values.
"""

import uuid
import warnings
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from lft_ray.errors import DamagedFileError, LftWarning, first_problem
from lft_ray.run.storage import Storage
from lft_ray.run_paths import in_folder
from lft_ray.strict_json import parse

__all__ = ["parse_record", "read_json", "read_notes", "read_record", "record_json", "set_aside", "write_record"]

RecordT = TypeVar("RecordT", bound=BaseModel)

RESTORE = "restore the file from a backup"
_told: set[str] = set()
"""Notes that this process has already reported as unreadable."""


def record_json(record: BaseModel, run_uri: str) -> str:
    """Return a record as JSON, with its paths relative to the run folder at ``run_uri``."""
    return record.model_dump_json(indent=1, context=in_folder(run_uri))


def write_record(storage: Storage, name: str, record: BaseModel) -> str:
    """Write a record into the run folder ``storage``, atomically. Returns its URI."""
    return storage.put(name, record_json(record, storage.uri))


def read_record(storage: Storage, name: str, kind: type[RecordT], *, fix: str = RESTORE) -> RecordT:
    """Read a record from the run folder ``storage``.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: the file cannot be read, or is not a valid record of this version.
    """
    return parse_record(_bytes(storage, name, fix), kind, storage, name, fix=fix)


def read_json(storage: Storage, name: str, *, fix: str = RESTORE) -> Any:
    """Read a file of plain JSON, as strictly as a record.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: the file cannot be read, or is not valid JSON.
    """
    return _value(_bytes(storage, name, fix), storage.uri_of(name), fix)


def parse_record(data: bytes, kind: type[RecordT], storage: Storage, name: str, *, fix: str = RESTORE) -> RecordT:
    """Parse the bytes of the file ``name`` as a record.

    Raises:
        DamagedFileError: they are not a valid record of this version.
    """
    value = _value(data, storage.uri_of(name), fix)
    try:
        return kind.model_validate(value, context=in_folder(storage.uri))
    except ValidationError as error:
        raise DamagedFileError(
            f"{storage.uri_of(name)} is damaged or of another version: {first_problem(error)}", fix=fix
        ) from None


def read_notes(storage: Storage, name: str, kind: type[Any]) -> Any:
    """Read a file of bookkeeping (stage seconds, versions), which never stops a command.

    Returns:
        Its content as ``kind``; an empty ``kind`` if it is missing, or unreadable, which is then said once.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.validate_python(_value(_bytes(storage, name, ""), storage.uri_of(name), ""))
    except FileNotFoundError:
        pass
    except ValidationError as error:
        _tell(storage.uri_of(name), first_problem(error))
    except DamagedFileError as error:
        _tell(storage.uri_of(name), error.message)
    return adapter.validate_python({})


def set_aside(storage: Storage, name: str) -> None:
    """Rename an unreadable file of bookkeeping before a new one is written, so that nothing is deleted."""
    with suppress(OSError):
        storage.put(f"{name}.unreadable-{uuid.uuid4().hex[:8]}", storage.get(name))


def _tell(uri: str, problem: str) -> None:
    if uri not in _told:
        _told.add(uri)
        problem = problem.removeprefix(uri).strip()
        warnings.warn(LftWarning(f"{uri} is ignored: {problem}"), stacklevel=3)


def _bytes(storage: Storage, name: str, fix: str) -> bytes:
    try:
        return storage.get(name)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFileError(
            f"{storage.uri_of(name)} cannot be read: {error.strerror or error}", fix=fix or RESTORE
        ) from error


def _value(data: bytes, uri: str, fix: str) -> Any:
    try:
        return parse(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        problem = f"it is not UTF-8 text (byte {error.start})"
    except ValueError as error:  # of JSON, a repeated key, or NaN
        problem = f"it is not valid JSON: {error}" if data.strip() else "it is empty"
    raise DamagedFileError(f"{uri} is damaged: {problem} ({len(data)} bytes)", fix=fix)
