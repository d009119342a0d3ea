"""CRC-32C (Castagnoli) of bytes, plain and masked as TensorFlow stores it: about a gigabyte per second.

In: bytes. Out: a number. The checksum is the remainder of a division of polynomials over GF(2), so a multiple of the
divisor may be added anywhere. One with four terms, in powers of x^32, moves a word of four bytes to three later words
by exclusive or alone: numpy folds a buffer of any size into 21 kB so. Tables then carry rows of words forward, and a
table of bytes finishes. Never needs a library of its own, and imports numpy for large buffers only.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint32]

__all__ = ["crc32c", "masked_crc32c"]

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's polynomial, lowest bit first."""
_ALL = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8
_SHIFTS = (1747, 2830, 5321)
"""Words by which a word is moved: x^5321 + x^3574 + x^2491 + 1 is a multiple of the polynomial, and so is, by squaring
five times, the same in powers of x^32."""
_ROW = 64
"""Words in a row that tables carry forward; the table of bytes finishes the last row."""
_SMALL = 4096
"""Bytes below which the table of bytes is as fast as folding."""
_PIECE_BYTES = 4 << 20
"""Bytes folded at a time: the copy of them stays in the cache."""


def masked_crc32c(data: "bytes | memoryview") -> int:
    """Return the checksum as TensorFlow and LevelDB store it: turned and moved, to lie among the data it is of."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _ALL


def crc32c(data: "bytes | memoryview") -> int:
    """Return the CRC-32C of bytes."""
    register, view = _ALL, memoryview(data)
    for start in range(0, len(view), _PIECE_BYTES):
        register = _fed(register, view[start : start + _PIECE_BYTES])
    return register ^ _ALL


def _fed(register: int, data: memoryview) -> int:
    """The register after ``data``."""
    table = _byte_table()
    if len(data) >= _SMALL:
        register, data = 0, _folded(register, data)
    for byte in data:
        register = table[(register ^ byte) & 0xFF] ^ register >> 8
    return register


def _folded(register: int, data: memoryview) -> memoryview:
    """A short buffer that leads from register 0 to where ``data`` leads from ``register``."""
    import numpy as np

    whole = len(data) // 4
    words = np.frombuffer(data[: whole * 4], "<u4").copy()
    words[0] ^= register
    words = _one_row(_moved(words))
    return memoryview(words.tobytes() + bytes(data[whole * 4 :]))


def _moved(words: "Words") -> "Words":
    """Move words to later ones, in place, until as many are left as the longest shift."""
    nearest, middle, farthest = _SHIFTS
    end = max(0, len(words) - farthest)
    for start in range(0, end, nearest):
        block = words[start : min(start + nearest, end)]
        for shift in (nearest, middle, farthest):
            words[start + shift : start + shift + len(block)] ^= block
    return words[end:]


def _one_row(words: "Words") -> "Words":
    """Carry rows forward until one is left. The first words that fill no row go into the row after them."""
    rows = len(words) // _ROW
    if rows < 2:
        return words
    low, high = _carry_tables(_ROW * 4)
    head = len(words) - rows * _ROW
    grid = words[head:].reshape(rows, _ROW)
    if head:
        grid[0, _ROW - head :] ^= low[words[:head] & 0xFFFF] ^ high[words[:head] >> 16]
    state: Words = grid[0]
    for row in grid[1:]:
        state = low[state & 0xFFFF] ^ high[state >> 16] ^ row
    return state


@lru_cache(maxsize=1)
def _byte_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


@lru_cache(maxsize=1)
def _carry_tables(count: int) -> "tuple[Words, Words]":
    """Registers after ``count`` zero bytes, by the lower and the upper half of the register before; a power of two."""
    import numpy as np

    table = _byte_table()
    # Images of the 32 bits under one byte, then squared until they are those of ``count`` bytes.
    images = [table[1 << bit & 0xFF] ^ (1 << bit) >> 8 for bit in range(32)]
    for _ in range(count.bit_length() - 1):
        images = [_image(image, images) for image in images]
    halves = []
    for half in (images[:16], images[16:]):
        found = np.zeros(1 << 16, np.uint32)
        for bit, image in enumerate(half):
            found[1 << bit : 2 << bit] = found[: 1 << bit] ^ np.uint32(image)
        halves.append(found)
    return halves[0], halves[1]


def _image(value: int, images: list[int]) -> int:
    found = 0
    for bit, image in enumerate(images):
        if value >> bit & 1:
            found ^= image
    return found
