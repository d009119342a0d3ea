"""Protocol buffers, as far as a checkpoint has them."""

import pytest

from lft_ray.models.tensorflow.wire import integers, messages, read_varint
from tests.models.tensorflow.write_table import message, number, varint


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
def test_numbers_of_any_length(value):
    assert read_varint(b"\0" + varint(value) + b"\7", 1) == (value, 1 + len(varint(value)))


def test_fields_repeat_and_keep_their_order():
    fields = messages(
        number(1, 5) + message(2, b"ab") + number(1, 7) + bytes([3 << 3 | 5, 1, 0, 0, 0, 4 << 3 | 1, 2, *[0] * 7])
    )
    assert fields == {1: [5, 7], 2: [b"ab"], 3: [1], 4: [2]}
    assert integers(fields, 1) == [5, 7]
    assert integers(fields, 9) == []


@pytest.mark.parametrize("data", [b"\x80", b"\x0a\x05ab", b"\x0d\x01", b"\x0b", b"\xff" * 11, b"\x09\1\2\3"])
def test_a_cut_message_is_an_error(data):
    with pytest.raises(ValueError, match=r"ends within|unknown kind|more than 64 bits"):
        messages(data)


def test_bytes_are_no_number():
    with pytest.raises(ValueError, match="field 2 is no number"):
        integers(messages(message(2, b"ab")), 2)
