"""Tensors as the Open Inference Protocol packs them: little endian; a text is its length in 4 bytes, then its bytes."""

import struct
from collections.abc import Sequence

from lft_ray.serve.http.strict_json import BadJson

__all__ = ["pack_floats", "pack_texts", "unpack_texts"]

_LENGTH = struct.Struct("<I")


def pack_texts(texts: Sequence[str]) -> bytes:
    """BYTES, row by row."""
    packed = [text.encode() for text in texts]
    return b"".join(part for one in packed for part in (_LENGTH.pack(len(one)), one))


def unpack_texts(data: bytes) -> list[str]:
    """BYTES to texts.

    Raises:
        BadJson: a length does not fit (422), or a text is not UTF-8 (400).
    """
    texts = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise BadJson("a tensor ends in the middle of a length", 422)
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + size > len(data):
            raise BadJson("a tensor ends in the middle of a text", 422)
        texts.append(decode(data[at : at + size]))
        at += size
    return texts


def decode(data: bytes) -> str:
    """Bytes to a text.

    Raises:
        BadJson: 400.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadJson("a text is not valid UTF-8", 400) from None


def pack_floats(values: Sequence[float]) -> bytes:
    """FP32, row by row."""
    return struct.pack(f"<{len(values)}f", *values)
