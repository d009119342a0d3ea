"""Read event files by the record format, with the messages as another package declares them."""

import struct
from pathlib import Path
from typing import Any

from lft_ray.run.events import PREFIX
from lft_ray.system.crc32c import masked_crc32c


def files_of(trial: Path) -> list[Path]:
    return sorted(trial.glob(f"{PREFIX}*"))


def events_of(path: Path) -> list[Any]:
    """All events of a file; every length and every message must have its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        length, crc = data[at : at + 8], int.from_bytes(data[at + 8 : at + 12], "little")
        assert masked_crc32c(length) == crc
        [size] = struct.unpack("<Q", length)
        message = data[at + 12 : at + 12 + size]
        assert len(message) == size
        assert masked_crc32c(message) == int.from_bytes(data[at + 12 + size : at + 16 + size], "little")
        found.append(Event.FromString(message))
        at += 16 + size
    return found


def scalars_of(path: Path) -> dict[str, dict[int, float]]:
    """Values by tag and step; no step may be there twice."""
    found: dict[str, dict[int, float]] = {}
    for event in events_of(path):
        for value in event.summary.value:
            assert event.step not in found.setdefault(value.tag, {}), f"{value.tag} has step {event.step} twice"
            found[value.tag][event.step] = value.simple_value
    return found
