"""Which process writes which rows of which tensor of a training state, and how they are read back by other processes.

In: named tensors, plain (the same on all processes) or parts of FSDP2. Out: an index that is JSON, and the tensors of
one process's file. No pickles: safetensors files, the index beside them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from lft_ray.records import Record

__all__ = ["Entry", "Part", "TensorReader", "index_of", "own_parts", "part_name"]


class Part(Record):
    """Consecutive rows of a tensor in one file; all of it has first 0 and as many rows as the tensor."""

    rank: int
    first: int
    rows: int


class Entry(Record):
    """A tensor: its dtype as torch names it, its shape and where its rows are."""

    dtype: str
    shape: list[int]
    parts: list[Part]


def part_name(rank: int) -> str:
    """File of the rank that wrote it."""
    return f"part-{rank:04d}.safetensors"


def index_of(tensors: Mapping[str, torch.Tensor], world: int) -> dict[str, Entry]:
    """Where each tensor is written; the same on every process.

    A plain tensor goes as a whole to the process that has the fewest bytes so far, a sharded one stays where it is.
    """
    loads, index = [0] * world, {}
    for name, tensor in tensors.items():
        rows = _rows(tensor.shape)
        if _is_sharded(tensor):
            parts = [
                Part(rank=r, first=a, rows=b - a) for r in range(world) for a, b in [_span(rows, r, world)] if b > a
            ]
        else:
            rank = min(range(world), key=loads.__getitem__)
            loads[rank] += tensor.numel() * tensor.element_size()
            parts = [Part(rank=rank, first=0, rows=rows)]
        index[name] = Entry(dtype=str(tensor.dtype).removeprefix("torch."), shape=list(tensor.shape), parts=parts)
    return index


def own_parts(tensors: Mapping[str, torch.Tensor], index: Mapping[str, Entry], rank: int) -> dict[str, torch.Tensor]:
    """What this process writes: whole tensors and its rows of sharded ones."""
    mine = [name for name, entry in index.items() if any(part.rank == rank for part in entry.parts)]
    return {name: _local(tensors[name]).detach().contiguous() for name in mine}


class TensorReader:
    """Reads tensors back from the files of any number of processes, and only the rows that are wanted.

    Args:
        folder: with the files.
        index: of the state.
    """

    def __init__(self, folder: Path, index: Mapping[str, Entry]) -> None:
        self._folder, self._index = folder, index

    def names(self, prefix: str) -> list[str]:
        """Names that begin so, without it."""
        return [name.removeprefix(prefix) for name in self._index if name.startswith(prefix)]

    def whole(self, name: str) -> torch.Tensor:
        """A whole tensor, on the processor."""
        entry = self._index[name]
        return self._read(name, 0, _rows(entry.shape)).reshape(entry.shape)

    def like(self, name: str, model: torch.Tensor) -> torch.Tensor:
        """The tensor on the device of ``model`` and sharded as it is, which has the same shape."""
        if not _is_sharded(model):
            return self.whole(name).to(model.device)
        from torch.distributed.tensor import DTensor

        sharded: Any = model
        rank, world = sharded.device_mesh.get_local_rank(), sharded.device_mesh.size()
        local = self._read(name, *_span(model.shape[0], rank, world)).to(model.device)
        return DTensor.from_local(
            local, sharded.device_mesh, sharded.placements, shape=model.shape, stride=sharded.stride()
        )

    def _read(self, name: str, first: int, last: int) -> torch.Tensor:
        entry, pieces = self._index[name], []
        for part in sorted(entry.parts, key=lambda p: p.first):
            begin, end = max(first, part.first), min(last, part.first + part.rows)
            if begin >= end:
                continue
            with safe_open(str(self._folder / part_name(part.rank)), framework="pt") as file:
                if not entry.shape:
                    return file.get_tensor(name)  # type: ignore[no-any-return]
                pieces.append(file.get_slice(name)[begin - part.first : end - part.first])
        if not pieces:
            return torch.empty([0, *entry.shape[1:]], dtype=getattr(torch, entry.dtype))
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _rows(shape: Sequence[int]) -> int:
    return shape[0] if len(shape) else 1


def _span(rows: int, rank: int, world: int) -> tuple[int, int]:
    """Rows of a rank as torch.chunk deals them out: the last ones may have fewer, or none."""
    size = -(-rows // world)
    return min(rank * size, rows), min((rank + 1) * size, rows)


def _is_sharded(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "placements")


def _local(tensor: torch.Tensor) -> torch.Tensor:
    sharded: Any = tensor
    part: torch.Tensor = sharded.to_local() if _is_sharded(tensor) else tensor
    return part
