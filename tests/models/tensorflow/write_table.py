"""Write checkpoints that TensorFlow does not write on request: other types, slices, packed blocks, other versions."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from lft_ray.system.crc32c import masked_crc32c

FLOAT = 1


@dataclass(frozen=True)
class Tensor:
    """A tensor to write: its bytes, its type number, its shape."""

    data: bytes
    shape: tuple[int, ...]
    dtype: int = FLOAT
    slices: int = 0
    size: int | None = None


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def table(entries: Mapping[bytes, bytes], *, packed: bool = False, per_block: int = 3) -> bytes:
    """A LevelDB table; keys share prefixes, and every second entry is a restart."""
    out, index, keys = bytearray(), {}, sorted(entries)
    for start in range(0, len(keys), per_block):
        part = keys[start : start + per_block]
        index[part[-1]] = _add(out, _block({key: entries[key] for key in part}), packed=packed)
    meta, place = _add(out, _block({})), _add(out, _block(index))
    return bytes(out) + (meta + place).ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def _block(entries: Mapping[bytes, bytes]) -> bytes:
    out, restarts, before = bytearray(), [], b""
    for position, (key, value) in enumerate(entries.items()):
        shared = 0
        if position % 2 == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def _add(out: bytearray, block: bytes, *, packed: bool = False) -> bytes:
    content = pa.compress(block, codec="snappy", asbytes=True) if packed else block
    kind = b"\1" if packed else b"\0"
    handle = varint(len(out)) + varint(len(content))
    out += content + kind + masked_crc32c(content + kind).to_bytes(4, "little")
    return handle


def header(*, shards: int = 1, endianness: int = 0, needs: int = 0) -> bytes:
    version = number(1, 1) + (number(2, needs) if needs else b"")
    return number(1, shards) + (number(2, endianness) if endianness else b"") + message(3, version)


def write(prefix: Path, tensors: Mapping[str, Tensor], *, packed: bool = False, head: bytes | None = None) -> Path:
    """Write a checkpoint of one data file. Returns the path of its index."""
    data, entries = bytearray(), {b"": header() if head is None else head}
    for name, tensor in tensors.items():
        shape = b"".join(message(2, number(1, size)) for size in tensor.shape)
        size = len(tensor.data) if tensor.size is None else tensor.size
        crc = varint(6 << 3 | 5) + masked_crc32c(tensor.data).to_bytes(4, "little")
        entry = number(1, tensor.dtype) + message(2, shape) + number(4, len(data)) + number(5, size) + crc
        entries[name.encode()] = entry + message(7, b"") * tensor.slices
        data += tensor.data
    index = prefix.with_name(f"{prefix.name}.index")
    index.write_bytes(table(entries, packed=packed))
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(bytes(data))
    return index
