"""The checksum of TensorFlow's files: published values, and every way of folding against a plain loop."""

import numpy as np
import pytest

from lft_ray.system import crc32c as module
from lft_ray.system.crc32c import crc32c, masked_crc32c


def one_bit_at_a_time(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_published_values(data, expected):
    """The values of RFC 3720, B.4."""
    assert crc32c(data) == expected


@pytest.mark.parametrize("size", [1, 5, 4095, 4096, 4099, 5321 * 4 - 1, 5321 * 4, 5321 * 4 + 9, 30_011])
def test_folding_is_the_plain_loop(size):
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == one_bit_at_a_time(data)


def test_pieces_do_not_matter(monkeypatch):
    data = np.random.default_rng(1).bytes(300_001)
    whole = crc32c(memoryview(data))
    monkeypatch.setattr(module, "_PIECE_BYTES", 10_007)
    assert crc32c(data) == whole


def test_one_flipped_bit_shows():
    data = bytearray(np.random.default_rng(2).bytes(200_000))
    before = crc32c(bytes(data))
    data[123_456] ^= 0x10
    assert crc32c(bytes(data)) != before


def test_the_mask_turns_and_moves():
    """The checksum of nothing is 0, so that its mask is the constant; TensorFlow's own files show the rest."""
    assert masked_crc32c(b"") == 0xA282EAD8
