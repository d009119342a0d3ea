"""Read TensorFlow's checkpoints in format V2 (``.index`` and ``.data-00000-of-0000n``) with numpy alone.

In: the ``.index`` file. Out: names and shapes of the tensors, and their values as float32, one at a time, each checked
against its checksum. Never reads a tensor that nobody asks for, never runs code, and never guesses: what is not
understood is an error with its name.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lft_ray.errors import ModelError
from lft_ray.models.tensorflow.table import read_table
from lft_ray.models.tensorflow.wire import Fields, integers, messages
from lft_ray.system.crc32c import masked_crc32c

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["INDEX", "Checkpoint", "Entry", "find_index"]

INDEX = ".index"
AGAIN = "copy or download the checkpoint again"
_VERSION = 1
"""Version of the format; a checkpoint that needs a newer reader says so."""
_MOST_INDEX_BYTES = 256 << 20
_FLOAT, _DOUBLE, _BFLOAT16, _HALF = 1, 2, 14, 19
_TYPES = {_FLOAT: ("float32", 4), _DOUBLE: ("float64", 8), _BFLOAT16: ("bfloat16", 2), _HALF: ("float16", 2)}
"""Types of weights: their names, and bytes per value."""
_OTHER_TYPES = {3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 9: "int64", 10: "bool", 20: "resource"}
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says about one tensor.

    Attributes:
        dtype: number of its type.
        shape: its shape.
        shard: number of the data file.
        offset: byte in that file.
        size: bytes.
        crc: masked checksum of the bytes.
        slices: number of parts that a partitioned variable is stored in; 0: it is stored whole.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: int

    @property
    def type_name(self) -> str:
        """Name of the type."""
        known = _TYPES.get(self.dtype)
        return known[0] if known else _OTHER_TYPES.get(self.dtype, f"type {self.dtype}")


def find_index(given: Path) -> Path:
    """Return the ``.index`` file that a folder, a prefix such as ``bert/bert_model.ckpt``, or the file itself names.

    Raises:
        ModelError: there is none, or there are several.
    """
    if given.is_file() and given.suffix == INDEX:
        return given
    beside = Path(f"{given}{INDEX}")
    if beside.is_file() and not given.is_dir():
        return beside
    if not given.is_dir():
        raise ModelError(
            f"{given} is no folder with a checkpoint, and there is no {beside}",
            fix="give the folder with bert_model.ckpt.index, bert_config.json and vocab.txt",
        )
    found = sorted(path for path in given.glob(f"*{INDEX}") if path.is_file())
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise ModelError(f"{given} has {len(found)} checkpoints: {names}", fix=f"name one: {found[-1].with_suffix('')}")
    old = [path.name for path in sorted(given.glob("*.ckpt*")) if path.suffix != ".meta"]
    why = f"; {old[0]} is of format V1, or its index is missing" if old else ""
    raise ModelError(
        f"{given} has no file *{INDEX}{why}",
        fix="a checkpoint is bert_model.ckpt.index and bert_model.ckpt.data-00000-of-00001; copy both here",
    )


class Checkpoint:
    """A checkpoint, of which only the index has been read.

    Args:
        index: its ``.index`` file.

    Attributes:
        index: that file.
        entries: name of a tensor -> what the index says about it.
        shards: number of data files.

    Raises:
        ModelError: the file is missing, damaged, or of a kind that this reader does not know.
    """

    def __init__(self, index: Path) -> None:
        self.index = index
        table = _read_index(index)
        try:
            self.shards = self._header(table.pop(b"", None))
            self.entries: Mapping[str, Entry] = {
                name.decode("utf-8", "backslashreplace"): _entry(value) for name, value in table.items()
            }
        except ValueError as error:
            raise ModelError(f"{index} is damaged: {error}", fix=AGAIN) from error
        if _OBJECT_GRAPH in self.entries:
            raise ModelError(
                f"{index} is a checkpoint of objects, as tf.train.Checkpoint of TensorFlow 2 writes it; its tensors "
                "are named after attributes of Python objects, not after variables",
                fix="take the checkpoint of the original BERT release (bert_model.ckpt), or write one with "
                "tf.compat.v1.train.Saver",
            )

    def data_file(self, shard: int) -> Path:
        """Path of a data file."""
        return self.index.with_name(f"{self.index.stem}.data-{shard:05d}-of-{self.shards:05d}")

    def read(self, name: str) -> "NDArray[np.float32]":
        """Read one tensor as float32.

        Raises:
            ModelError: its type or its storage is not supported, its file is missing or too short, or its checksum
                differs.
        """
        entry = self.entries[name]
        if entry.slices:
            raise ModelError(
                f"tensor {name} of {self.index} is partitioned into {entry.slices} slices; only whole tensors are read",
                fix="write the checkpoint again from a graph without partitioned variables",
            )
        if entry.dtype not in _TYPES:
            allowed = ", ".join(kind for kind, _ in _TYPES.values())
            raise ModelError(f"tensor {name} of {self.index} is of type {entry.type_name}: expected one of {allowed}")
        expected = math.prod(entry.shape) * _TYPES[entry.dtype][1]
        if expected != entry.size:
            raise ModelError(
                f"{self.index} is damaged: tensor {name} has shape {list(entry.shape)} of {entry.type_name}, which is "
                f"{expected:,} bytes, and {entry.size:,} are stored",
                fix=AGAIN,
            )
        return _as_float32(self._bytes(name, entry), entry)

    def _bytes(self, name: str, entry: Entry) -> bytes:
        path = self.data_file(entry.shard)
        try:
            with path.open("rb") as stream:
                # Before reading: a size from a damaged index may be larger than any memory.
                has = os.fstat(stream.fileno()).st_size
                stream.seek(min(entry.offset, has))
                data = stream.read(entry.size) if entry.offset + entry.size <= has else b""
        except FileNotFoundError:
            raise ModelError(
                f"{path} is missing, which holds tensor {name} (file {entry.shard + 1} of {self.shards})",
                fix="copy all data files of the checkpoint beside the index",
            ) from None
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
        if len(data) < entry.size:
            raise ModelError(
                f"{path} is cut off: it has {has:,} bytes, and tensor {name} ends at byte "
                f"{entry.offset + entry.size:,}",
                fix=AGAIN,
            )
        if (crc := masked_crc32c(data)) != entry.crc:
            raise ModelError(
                f"{path} is damaged in tensor {name} (bytes {entry.offset:,} to {entry.offset + entry.size:,}): its "
                f"checksum is {crc:08x}, and the index says {entry.crc:08x}",
                fix=AGAIN,
            )
        return data

    def _header(self, value: bytes | None) -> int:
        """Read the header. Returns the number of data files."""
        if value is None:
            raise ValueError("it has no header")
        fields = messages(value)
        if any(integers(fields, 2)):
            raise ModelError(
                f"{self.index} was written on a big-endian machine, whose numbers have their bytes in reverse",
                fix="read and write the checkpoint once with TensorFlow on a little-endian machine",
            )
        version = messages(_one(fields, 3))
        needs = max(integers(version, 2), default=0)
        if needs > _VERSION:
            raise ModelError(f"{self.index} needs a reader of format version {needs}; this is version {_VERSION}")
        return max(1, *integers(fields, 1), 1)


def _read_index(index: Path) -> dict[bytes, bytes]:
    try:
        if index.stat().st_size > _MOST_INDEX_BYTES:
            raise ModelError(f"{index} is no index of a checkpoint: it has {index.stat().st_size:,} bytes")
        return read_table(index.read_bytes())
    except OSError as error:
        raise ModelError(f"{index} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{index} is damaged, or no index of a checkpoint: {error}", fix=AGAIN) from error


def _entry(value: bytes) -> Entry:
    fields = messages(value)
    dtype, shard, offset, size, crc = ((integers(fields, number) or [0])[-1] for number in (1, 3, 4, 5, 6))
    return Entry(dtype, _shape(_one(fields, 2)), shard, offset, size, crc, len(fields.get(7, [])))


def _shape(value: bytes) -> tuple[int, ...]:
    sizes = []
    for dimension in messages(value).get(2, []):
        if not isinstance(dimension, bytes):
            raise ValueError("a shape is no message")
        size = (integers(messages(dimension), 1) or [0])[-1]
        if size >= _SIGN:
            raise ValueError("a dimension is negative")
        sizes.append(size)
    return tuple(sizes)


def _one(fields: Fields, number: int) -> bytes:
    """The message in a field; empty where it is absent, as protocol buffers have it."""
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is no message")
    return value


def _as_float32(data: bytes, entry: Entry) -> "NDArray[np.float32]":
    import numpy as np

    if entry.dtype == _BFLOAT16:
        # A bfloat16 is the upper half of a float32.
        found = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        kinds = {_FLOAT: "<f4", _DOUBLE: "<f8", _HALF: "<f2"}
        found = np.frombuffer(data, kinds[entry.dtype]).astype(np.float32, copy=False)
    return found.reshape(entry.shape)
