"""Plain tensors of a checkpoint, written by several ranks and read by any number; FSDP shards need processes."""

import pytest
import torch
from safetensors.torch import save_file

from lft_ray.train.loop.checkpoint_layout import Entry, Part, TensorReader, index_of, own_parts, part_name

TENSORS = {
    "model/wide": torch.arange(40.0).reshape(4, 10),
    "model/a": torch.arange(6.0).reshape(2, 3),
    "model/b": torch.arange(5.0),
    "optimizer/a/step": torch.tensor(7.0),
    "rng": torch.arange(3, dtype=torch.uint8),
}


def test_index_of_balances_bytes_between_ranks():
    index = index_of(TENSORS, 2)
    ranks = {name: entry.parts[0].rank for name, entry in index.items()}
    # The wide tensor has 160 of 207 bytes, so the other rank writes all the rest.
    assert ranks == {"model/wide": 0, "model/a": 1, "model/b": 1, "optimizer/a/step": 1, "rng": 1}
    assert index["rng"] == Entry(dtype="uint8", shape=[3], parts=[Part(rank=1, first=0, rows=3)])


@pytest.mark.parametrize("world", [1, 2, 3])
def test_reader_restores_the_tensors_of_any_number_of_ranks(tmp_path, world):
    index = index_of(TENSORS, world)
    for rank in range(world):
        save_file(own_parts(TENSORS, index, rank), str(tmp_path / part_name(rank)))
    reader = TensorReader(tmp_path, index)
    assert reader.names("model/") == ["wide", "a", "b"]
    for name, tensor in TENSORS.items():
        assert torch.equal(reader.whole(name), tensor)
        assert reader.whole(name).dtype is tensor.dtype
        assert torch.equal(reader.like(name, torch.empty_like(tensor)), tensor)


def test_reader_joins_the_rows_of_several_files_and_reads_a_part(tmp_path):
    rows = torch.arange(10.0).reshape(5, 2)
    parts = [Part(rank=1, first=3, rows=2), Part(rank=0, first=0, rows=3)]
    for part in parts:
        piece = rows[part.first : part.first + part.rows].contiguous()
        save_file({"w": piece}, str(tmp_path / part_name(part.rank)))
    reader = TensorReader(tmp_path, {"w": Entry(dtype="float32", shape=[5, 2], parts=parts)})
    assert torch.equal(reader.whole("w"), rows)
    assert torch.equal(reader._read("w", 2, 4), rows[2:4])
    assert reader._read("w", 5, 5).shape == (0, 2)
