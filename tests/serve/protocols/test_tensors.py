import struct

import pytest

from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.protocols.tensors import pack, pack_floats, pack_texts, unpack_texts


def test_texts_are_packed_with_little_endian_lengths_in_bytes():
    assert pack_texts(["a", "é"]) == b"\x01\x00\x00\x00a\x02\x00\x00\x00\xc3\xa9"


@pytest.mark.parametrize("texts", [[], [""], ["a", "", "grüße\n", "日本"]])
def test_texts_survive_a_round_trip(texts):
    assert unpack_texts(pack_texts(texts)) == texts


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"\x01\x00", 422, "middle of a length"),
        (b"\x02\x00\x00\x00a", 422, "middle of a text"),
        (b"\xff\xff\xff\xffa", 422, "middle of a text"),
        (b"\x01\x00\x00\x00\xff", 400, "UTF-8"),
    ],
)
def test_a_damaged_tensor_is_refused(data, status, reason):
    with pytest.raises(BadJson, match=reason) as raised:
        unpack_texts(data)
    assert raised.value.status == status


def test_floats_are_packed_as_fp32():
    assert pack_floats([1.0, -0.5]) == struct.pack("<2f", 1.0, -0.5)
    assert pack_floats([]) == b""


def test_numbers_are_packed_by_their_datatype():
    assert pack([1, -1], "INT64") == struct.pack("<2q", 1, -1)
    assert pack([0.5], "FP32") == pack_floats([0.5])
    assert pack(["a"], "BYTES") == pack_texts(["a"])
