"""Base of all records, and the time they carry. In: nothing. Out: `Record`, `now_utc`. Never computes."""

from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, JsonValue, SerializerFunctionWrapHandler, model_serializer

from lft_ray.config.base import check_names

__all__ = ["Learned", "Record", "now_utc"]


def now_utc() -> str:
    """Return the current time as an ISO 8601 string in UTC, with a resolution of one second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Record(BaseModel):
    """Base of all records: frozen; unknown keys are errors: a file of another version is refused, not misread."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises:
            TypeError: a name is not a field; pydantic's own `model_copy` silently accepts any name.
        """
        check_names(type(self), changes)
        return self.model_copy(update=changes)


class Learned(Record):
    """Base of records of what a task learned from its train rows: ``labels``, and ``other_facts`` of other tasks.

    Other facts are stored only where there are some, so that the records of tasks with labels are the same in all
    versions.
    """

    @property
    def facts(self) -> dict[str, JsonValue]:
        """What the task learned from train, for the facts class of the task."""
        fields: Any = self
        return fields.other_facts or {"labels": list(fields.labels)}

    @model_serializer(mode="wrap")
    def _without_empty(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stored: dict[str, Any] = dump(self)
        return {key: value for key, value in stored.items() if value or not key.startswith("other_")}
