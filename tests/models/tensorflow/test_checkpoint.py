"""Tensors of a checkpoint: what TensorFlow wrote comes back, and what is damaged or not understood has a name."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lft_ray.errors import ModelError
from lft_ray.models.tensorflow.checkpoint import Checkpoint, find_index
from tests.models.tensorflow.write_checkpoint import FOLDER, PREFIX, arrays
from tests.models.tensorflow.write_table import Tensor, header, write

ONES = Tensor(np.ones(6, "<f4").tobytes(), (2, 3))


@pytest.fixture
def copied(tmp_path) -> Path:
    shutil.copytree(FOLDER, tmp_path / "uncased_tiny")
    return tmp_path / "uncased_tiny"


def test_every_variable_that_tensorflow_wrote_comes_back():
    checkpoint, expected = Checkpoint(FOLDER / f"{PREFIX}.index"), arrays()
    assert checkpoint.shards == 3
    assert {checkpoint.entries[name].shard for name in expected} == {1, 2}
    for name, value in expected.items():
        assert np.array_equal(checkpoint.read(name), value), name
    assert not checkpoint.read("bert/pooler/dense/kernel/adam_m").any()


@pytest.mark.parametrize(("dtype", "kind"), [(1, "<f4"), (2, "<f8"), (19, "<f2")])
def test_weights_of_other_widths_become_float32(tmp_path, dtype, kind):
    values = np.array([[1.5, -2.0], [0.25, 3.0]])
    index = write(tmp_path / "x", {"w": Tensor(values.astype(kind).tobytes(), (2, 2), dtype)})
    found = Checkpoint(index).read("w")
    assert found.dtype == np.float32
    assert np.array_equal(found, values)


def test_bfloat16_is_the_upper_half_of_a_float(tmp_path):
    upper = (np.array([1.5, -2.0], "<f4").view("<u4") >> 16).astype("<u2")
    index = write(tmp_path / "x", {"w": Tensor(upper.tobytes(), (2,), 14)})
    assert Checkpoint(index).read("w").tolist() == [1.5, -2.0]


def test_packed_indexes_are_read(tmp_path):
    index = write(tmp_path / "x", {f"w{number}": ONES for number in range(9)}, packed=True)
    assert len(Checkpoint(index).entries) == 9


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (Tensor(b"\1\0\0\0", (1,), 3), "of type int32"),
        (Tensor(b"ab", (1,), 7), "of type string"),
        (Tensor(ONES.data, (2, 3), slices=2), "partitioned into 2 slices"),
        (Tensor(ONES.data, (2, 4)), "32 bytes, and 24 are stored"),
        (Tensor(ONES.data, (2**40, 2**40)), "are stored"),
        (Tensor(ONES.data, (2, 4), size=32), "is cut off: it has 24 bytes, and tensor w ends at byte 32"),
    ],
)
def test_what_is_not_understood_has_a_name(tmp_path, tensor, words):
    checkpoint = Checkpoint(write(tmp_path / "x", {"w": tensor}))
    with pytest.raises(ModelError, match=words):
        checkpoint.read("w")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (header(endianness=1), "big-endian"),
        (header(needs=7), "needs a reader of format version 7"),
        (b"\xff", "is damaged: it ends within a number"),
    ],
)
def test_headers_of_another_world(tmp_path, head, words):
    with pytest.raises(ModelError, match=words):
        Checkpoint(write(tmp_path / "x", {"w": ONES}, head=head))


def test_a_checkpoint_of_objects_is_named(tmp_path):
    index = write(tmp_path / "x", {"_CHECKPOINTABLE_OBJECT_GRAPH": Tensor(b"ab", (), 7), "model/w": ONES})
    with pytest.raises(ModelError, match=r"tf\.train\.Checkpoint"):
        Checkpoint(index)


def test_a_flipped_byte_names_file_and_tensor(copied):
    checkpoint = Checkpoint(copied / f"{PREFIX}.index")
    name = "bert/encoder/layer_1/output/dense/kernel"
    entry = checkpoint.entries[name]
    path = checkpoint.data_file(entry.shard)
    data = bytearray(path.read_bytes())
    data[entry.offset + 100] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=f"{path.name} is damaged in tensor {name}"):
        checkpoint.read(name)


def test_a_cut_file_and_a_missing_one_are_named(copied):
    checkpoint = Checkpoint(copied / f"{PREFIX}.index")
    name = max(arrays(), key=lambda known: checkpoint.entries[known].offset)
    path = checkpoint.data_file(checkpoint.entries[name].shard)
    path.write_bytes(path.read_bytes()[: checkpoint.entries[name].offset + 4])
    with pytest.raises(ModelError, match=f"{path.name} is cut off"):
        checkpoint.read(name)
    path.unlink()
    with pytest.raises(ModelError, match=f"{path.name} is missing"):
        checkpoint.read(name)


@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: b"", lambda data: b"\0" * len(data)])
def test_a_damaged_index_is_named(copied, change):
    index = copied / f"{PREFIX}.index"
    index.write_bytes(change(index.read_bytes()))
    with pytest.raises(ModelError, match=r"bert_model.ckpt.index is damaged"):
        Checkpoint(index)


def test_a_flipped_byte_of_the_index_is_named(copied):
    index = copied / f"{PREFIX}.index"
    data = bytearray(index.read_bytes())
    data[1000] ^= 1
    index.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="the block at byte 0 has the checksum"):
        Checkpoint(index)


def test_folder_prefix_and_file_lead_to_the_index(copied):
    index = copied / f"{PREFIX}.index"
    assert {find_index(path) for path in (copied, copied / PREFIX, index)} == {index}


def test_several_checkpoints_are_listed(copied):
    shutil.copyfile(copied / f"{PREFIX}.index", copied / "model.ckpt-900.index")
    with pytest.raises(ModelError, match=r"has 2 checkpoints: bert_model.ckpt.index, model.ckpt-900.index") as error:
        find_index(copied)
    assert error.value.fix.endswith("model.ckpt-900")


def test_no_checkpoint_is_told(tmp_path):
    with pytest.raises(ModelError, match=r"has no file \*\.index"):
        find_index(tmp_path)
    (tmp_path / "model.ckpt").write_bytes(b"old")
    with pytest.raises(ModelError, match=r"model\.ckpt is of format V1"):
        find_index(tmp_path)
    with pytest.raises(ModelError, match="no folder with a checkpoint"):
        find_index(tmp_path / "nothing")


def test_tensorflow_writes_the_same_today(tmp_path):
    """Where TensorFlow is installed, its writer and this reader agree anew."""
    pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'lft-ray[tensorflow-test]'")
    from tests.models.tensorflow.write_checkpoint import write_with_tensorflow

    write_with_tensorflow(tmp_path)
    checkpoint = Checkpoint(tmp_path / f"{PREFIX}.index")
    for name, value in arrays().items():
        assert np.array_equal(checkpoint.read(name), value), name
