"""Layout of a checkpoint: which process writes which rows of each tensor, and how other processes read them back.

In: named tensors, plain (equal on all processes) or sharded by FSDP2. Out: an index that serializes to JSON, and the
tensors of one process's file. Safetensors files with the index beside them, never pickles.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from lft_ray.records import Record

__all__ = ["Entry", "Part", "TensorReader", "index_of", "own_parts", "part_name"]


class Part(Record):
    """Consecutive rows of a tensor in one file: ``rows`` rows from row ``first``, in the file of ``rank``."""

    rank: int
    first: int
    rows: int


class Entry(Record):
    """Index entry of a tensor: dtype (torch's name), shape, and location of its rows."""

    dtype: str
    shape: list[int]
    parts: list[Part]


def part_name(rank: int) -> str:
    """Name of the file that a rank writes."""
    return f"part-{rank:04d}.safetensors"


def index_of(tensors: Mapping[str, torch.Tensor], world: int) -> dict[str, Entry]:
    """Index of where each tensor is written; equal on every process.

    A plain tensor is assigned as a whole to the process with the fewest bytes so far; each process writes its own part
    of a sharded tensor.
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
    """Tensors that this process writes: the plain ones assigned to it, and its rows of sharded ones."""
    mine = [name for name, entry in index.items() if any(part.rank == rank for part in entry.parts)]
    return {name: _local(tensors[name]).detach().contiguous() for name in mine}


class TensorReader:
    """Reads tensors from files written by any number of processes, and only the rows needed.

    Args:
        folder: folder of the files.
        index: index of the state.
    """

    def __init__(self, folder: Path, index: Mapping[str, Entry]) -> None:
        self._folder, self._index = folder, index

    def names(self, prefix: str) -> list[str]:
        """Names of the tensors that start with ``prefix``, without the prefix."""
        return [name.removeprefix(prefix) for name in self._index if name.startswith(prefix)]

    def whole(self, name: str) -> torch.Tensor:
        """A whole tensor, on the CPU."""
        entry = self._index[name]
        return self._read(name, 0, _rows(entry.shape)).reshape(entry.shape)

    def like(self, name: str, template: torch.Tensor) -> torch.Tensor:
        """The tensor, on the device of ``template`` and sharded like it; both have the same shape."""
        if not _is_sharded(template):
            return self.whole(name).to(template.device)
        from torch.distributed.tensor import DTensor

        sharded: Any = template
        rank, world = sharded.device_mesh.get_local_rank(), sharded.device_mesh.size()
        local = self._read(name, *_span(template.shape[0], rank, world)).to(template.device)
        return DTensor.from_local(
            local, sharded.device_mesh, sharded.placements, shape=template.shape, stride=sharded.stride()
        )

    def _read(self, name: str, first: int, last: int) -> torch.Tensor:
        entry, pieces = self._index[name], []
        for part in sorted(entry.parts, key=lambda p: p.first):
            begin, end = max(first, part.first), min(last, part.first + part.rows)
            if begin >= end:
                continue
            with safe_open(str(self._folder / part_name(part.rank)), framework="pt") as file:
                if not entry.shape:  # a scalar has no rows to slice
                    return file.get_tensor(name)  # type: ignore[no-any-return]
                pieces.append(file.get_slice(name)[begin - part.first : end - part.first])
        if not pieces:
            return torch.empty([0, *entry.shape[1:]], dtype=getattr(torch, entry.dtype))
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _rows(shape: Sequence[int]) -> int:
    return shape[0] if len(shape) else 1


def _span(rows: int, rank: int, world: int) -> tuple[int, int]:
    """Rows [first, last) of a rank, split as by torch.chunk: the last ranks may have fewer rows, or none."""
    size = -(-rows // world)
    return min(rank * size, rows), min((rank + 1) * size, rows)


def _is_sharded(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "placements")


def _local(tensor: torch.Tensor) -> torch.Tensor:
    sharded: Any = tensor
    part: torch.Tensor = sharded.to_local() if _is_sharded(tensor) else tensor
    return part
