"""LevelDB tables: what TensorFlow wrote, what our writer wrote, and every single byte of it damaged."""

import pytest

from lft_ray.models.tensorflow.table import read_table
from tests.models.tensorflow.write_checkpoint import FOLDER
from tests.models.tensorflow.write_table import table

ENTRIES = {f"bert/layer_{number}".encode(): bytes([number]) * number for number in range(10)} | {b"": b"head"}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("per_block", [1, 3, 100])
def test_entries_come_back(packed, per_block):
    assert read_table(table(ENTRIES, packed=packed, per_block=per_block)) == ENTRIES


def test_a_table_of_tensorflow_is_read():
    found = read_table((FOLDER / "bert_model.ckpt.index").read_bytes())
    assert b"" in found
    assert b"bert/encoder/layer_1/attention/self/query/kernel/adam_v" in found


def test_no_flipped_byte_goes_unnoticed():
    whole = table(ENTRIES)
    expected = read_table(whole)
    silent = []
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x41
        try:
            if read_table(bytes(damaged)) != expected:
                silent.append(at)
        except ValueError:
            continue
    assert not silent


@pytest.mark.parametrize("keep", [0, 20, 47, 48, 100])
def test_a_cut_table_is_an_error(keep):
    with pytest.raises(ValueError, match=r"a table has|mark of a table"):
        read_table(table(ENTRIES)[:keep])


def test_another_packing_is_named():
    from lft_ray.system.crc32c import masked_crc32c

    whole = bytearray(table({b"": b"head"}))
    size = whole.index(b"head") + 4 + 8
    whole[size] = 4
    whole[size + 1 : size + 5] = masked_crc32c(bytes(whole[: size + 1])).to_bytes(4, "little")
    with pytest.raises(ValueError, match="packed in way 4"):
        read_table(bytes(whole))
