"""TensorBoard's event files: the learning curve of each trial, in its folder, for ``tensorboard --logdir RUN``.

In: a started trial, and the points of its curve. Out: ``events.out.tfevents.<time>.<id>.<attempt>`` in its folder: a
local file grows with every validation pass, one in a bucket is written when the trial ends. Only the driver writes it,
so it costs a worker nothing. It says nothing that the record does not, so trouble with it ends no trial.

A later attempt of a trial repeats the points before it, under a new name, and the older file goes: no point is there
twice. A mark at its start tells a TensorBoard that has read the older file to forget it.
"""

import logging
import math
import struct
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from lft_ray.records import CurvePoint, TrialRecord
from lft_ray.run.storage import Storage
from lft_ray.system.crc32c import masked_crc32c

__all__ = ["PREFIX", "EventFile"]

logger = logging.getLogger(__name__)

PREFIX = "events.out.tfevents."
"""Start of the names that TensorBoard looks for."""
_MOST_FLOAT = 3.4e38
"""Above it, a number is no float of 32 bits."""
_VERSION = b"brain.Event:2"
_START = 1
"""Status of a session that begins."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class EventFile:
    """Event file of one attempt of a trial.

    Args:
        trial: storage of the trial's folder.
        trial_id: its id.
        attempt: its number, from 1.
        started_at: when it was started, in ISO format.
    """

    def __init__(self, trial: Storage, trial_id: str, attempt: int, started_at: str) -> None:
        self._trial = trial
        self._started_s = _seconds(started_at)
        # TensorBoard reads files of a folder in the order of their names.
        self.name = f"{PREFIX}{int(self._started_s)}.{trial_id}.{attempt}"
        self._is_first = attempt == 1
        self._written: list[CurvePoint] = []
        self._is_begun = False

    def show(self, curve: Sequence[CurvePoint]) -> None:
        """Add the points of a running trial's curve that the file does not have yet."""
        if self._trial.is_local:
            self._put(curve, b"")

    def close(self, record: TrialRecord) -> None:
        """Add what is missing of an ended trial: the rest of its curve, and its totals."""
        step = record.curve[-1].step if record.curve else 0
        totals = {"total/core_seconds": record.usage.core_s, "total/training_usd": record.training_usd}
        if (reference := record.reference_variant) is not None:
            totals["total/validation_f1"] = reference.f1
        end = record.finished_at or record.started_at
        self._put(record.curve, _event(_seconds(end) or self._started_s, step, summary=_summary(totals)))

    def _put(self, curve: Sequence[CurvePoint], tail: bytes) -> None:
        try:
            known = len(self._written)
            if self._is_begun and list(curve[:known]) == self._written:
                self._append(b"".join(map(self._point, curve[known:])) + tail)
            else:
                self._rewrite(self._head() + b"".join(map(self._point, curve)) + tail)
            self._written, self._is_begun = list(curve), self._trial.is_local
        except Exception as error:  # noqa: BLE001  (a copy for people to look at never ends a trial)
            logger.warning("%s is not written: %s", self._trial.uri_of(self.name), error)

    def _append(self, data: bytes) -> None:
        if data:
            with (Path(self._trial.uri) / self.name).open("ab") as stream:
                stream.write(data)

    def _rewrite(self, data: bytes) -> None:
        """Write the file as a whole, and delete those of earlier attempts and of a driver that died."""
        self._trial.put(self.name, data)
        for name in self._trial.files():
            if name.startswith(PREFIX) and name != self.name:
                self._trial.delete_file(name)

    def _head(self) -> bytes:
        head = _event(self._started_s, 0, version=_VERSION)
        if self._is_first:
            return head
        return head + _event(self._started_s, 0, session=_number(1, _START))

    def _point(self, point: CurvePoint) -> bytes:
        values = {
            "train/loss": point.train_loss,
            "train/learning_rate": point.learning_rate,
            "validation/f1": point.f1,
            "validation/loss": point.loss,
            "usage/core_seconds": point.core_s,
        }
        present = {tag: value for tag, value in values.items() if value is not None}
        return _event(self._started_s + point.train_s, point.step, summary=_summary(present))


def _seconds(moment: str) -> float:
    """Seconds since the epoch of a time in ISO format; 0 where there is none."""
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0


def _event(seconds: float, step: int, *, version: bytes = b"", summary: bytes = b"", session: bytes = b"") -> bytes:
    """One record: length, its checksum, the message, its checksum."""
    message = _key(1, _FIXED64) + struct.pack("<d", seconds) + _number(2, step)
    for number, content in ((3, version), (5, summary), (7, session)):
        if content:
            message += _bytes(number, content)
    length = struct.pack("<Q", len(message))
    return length + _checksum(length) + message + _checksum(message)


def _summary(values: dict[str, float]) -> bytes:
    """Scalars by tag; a value that is not finite is left out."""
    scalars = (
        _bytes(1, tag.encode()) + _key(2, _FIXED32) + struct.pack("<f", value)
        for tag, value in values.items()
        if math.isfinite(value) and abs(value) < _MOST_FLOAT
    )
    return b"".join(_bytes(1, scalar) for scalar in scalars)


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))


def _bytes(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _key(number, _VARINT) + _varint(value)


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
