"""Read the wire format of protocol buffers: the messages of a checkpoint are small, and need no TensorFlow.

In: bytes of one message. Out: its fields by number. Never more than integers, fixed words and byte strings.
"""

from collections.abc import Iterator

__all__ = ["Fields", "integers", "messages", "read_varint"]

Fields = dict[int, list[int | bytes]]
"""Number of a field -> its values, in order."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_BITS = 64


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at`` and the position after it.

    Raises:
        ValueError: the data ends within it, or it has more than 64 bits.
    """
    value = shift = 0
    while shift < _MOST_BITS:
        if at >= len(data):
            raise ValueError("it ends within a number")
        byte = data[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number has more than 64 bits")


def messages(data: bytes) -> Fields:
    """Return the fields of a message.

    Raises:
        ValueError: this is no message.
    """
    found: Fields = {}
    for number, value in _fields(data):
        found.setdefault(number, []).append(value)
    return found


def integers(fields: Fields, number: int) -> list[int]:
    """Return the values of a field of integers.

    Raises:
        ValueError: the field holds something else.
    """
    values = fields.get(number, [])
    if not all(isinstance(value, int) for value in values):
        raise ValueError(f"field {number} is no number")
    return [value for value in values if isinstance(value, int)]


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = read_varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = read_varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"field {number} has the unknown kind {kind}")
        if at + size > len(data):
            raise ValueError(f"it ends within field {number}")
        piece = data[at : at + size]
        yield number, piece if kind == _BYTES else int.from_bytes(piece, "little")
        at += size
