"""Binary tensors of the Open Inference Protocol. In: texts or numbers. Out: little-endian bytes, and texts back.

BYTES: each text as its length in 4 bytes, then its UTF-8 bytes. FP32: 4 bytes per value. INT64: 8 bytes per value.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lft_ray.serve.http.strict_json import BadJson

__all__ = ["pack", "pack_floats", "pack_texts", "unpack_texts"]

_LENGTH = struct.Struct("<I")


def pack_texts(texts: Sequence[str]) -> bytes:
    """Encode texts as a BYTES tensor."""
    packed = [text.encode() for text in texts]
    return b"".join(part for one in packed for part in (_LENGTH.pack(len(one)), one))


def unpack_texts(data: bytes) -> list[str]:
    """Decode a BYTES tensor.

    Raises:
        BadJson: a length exceeds the tensor (422), or a text is not valid UTF-8 (400).
    """
    texts = []
    offset = 0
    while offset < len(data):
        if offset + _LENGTH.size > len(data):
            raise BadJson("a tensor ends in the middle of a length", 422)
        (size,) = _LENGTH.unpack_from(data, offset)
        offset += _LENGTH.size
        if offset + size > len(data):
            raise BadJson("a tensor ends in the middle of a text", 422)
        texts.append(decode(data[offset : offset + size]))
        offset += size
    return texts


def decode(data: bytes) -> str:
    """Decode one text.

    Raises:
        BadJson: it is not valid UTF-8 (400).
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadJson("a text is not valid UTF-8", 400) from None


def pack_floats(values: Sequence[float]) -> bytes:
    """Encode values as an FP32 tensor, in row-major order."""
    return struct.pack(f"<{len(values)}f", *values)


def pack_ints(values: Sequence[int]) -> bytes:
    """Encode values as an INT64 tensor, in row-major order."""
    return struct.pack(f"<{len(values)}q", *values)


_PACKED: Mapping[str, Callable[[Sequence[Any]], bytes]] = {
    "BYTES": pack_texts,
    "FP32": pack_floats,
    "INT64": pack_ints,
}
"""Datatype -> its encoding."""


def pack(values: Sequence[Any], datatype: str) -> bytes:
    """Encode values as a tensor of a datatype."""
    return _PACKED[datatype](values)
