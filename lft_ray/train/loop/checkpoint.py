"""Checkpoints of the training state, so that a crash costs at most one interval. In: network, optimizer, progress. Out:
files on storage, and a restored state. Safetensors and JSON only, never pickles.

Each save is one folder, ``<session>-<step>``. Every process first writes its ``part-<rank>.safetensors``; rank 0 then
writes ``state.json``, the index. A folder with its JSON is therefore complete, and any number of processes can resume
from it. A session is one run of the training loop: two sessions (one of them wrongly presumed dead) never write the
same file. The usage records of the sessions are in the same folder.

A state is used only if every part has the checksum that its process wrote beside it; any other is discarded, with a
note, and the previous one is used, or none.
"""

import logging
import os
import tempfile
import uuid
import zlib
from pathlib import Path

import torch
from pydantic import Field, ValidationError
from safetensors.torch import save_file
from torch import nn

from lft_ray.records import CurvePoint, Record, Usage
from lft_ray.run.storage import Storage
from lft_ray.train.device.process_group import Group
from lft_ray.train.device.usage_notes import PREFIX, noted_usage, put_usage
from lft_ray.train.loop.checkpoint_layout import Entry, TensorReader, index_of, own_parts, part_name

__all__ = ["Progress", "StateStore"]

logger = logging.getLogger(__name__)

FORMAT = 4
"""2: the token embedding contains only the tokens that occur in the data. 3: each process writes a part. 4: with its
checksum."""


class Progress(Record):
    """Progress of a training run: its state apart from the tensors."""

    format: int = FORMAT
    key: str
    """Fingerprint of everything the run depends on; a state with another key is not resumed."""
    step: int
    """Optimiser steps done."""
    curve: list[CurvePoint]
    loss_sum: float = 0.0
    """Sum of training losses since the last curve point; ``loss_weight`` is its divisor."""
    loss_weight: float = 0.0
    tensors: dict[str, Entry] = Field(default_factory=dict)
    """Index of the files: each tensor and the location of its rows; filled in on saving."""


class OomRecord(Record):
    """Record of sessions that ran out of memory: how often to halve the passes, and their peak memory."""

    halvings: int = 0
    peak_bytes: int = 0


class PartSum(Record):
    """Length in bytes and CRC-32 of one part of a state."""

    bytes: int
    crc32: int


class StateStore:
    """Saves, finds and restores the training states of one trial.

    Args:
        storage: state folder of the trial; the caller removes it when the trial is over.
        key: fingerprint of everything the run depends on.
    """

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage = storage
        self.key = key
        self._session = uuid.uuid4().hex[:12]
        self._saved: list[str] = []
        self.note = ""
        """What was discarded, in one line; empty: nothing."""

    def save(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, group: Group | None = None
    ) -> None:
        """Save the state; the session's previous state is deleted once the new one is complete.

        Every process of ``group`` must call this and writes its part.

        Raises:
            OSError: on every process, if one of them could not write.
        """
        group = group or Group()
        name = str(group.broadcast(f"{self._session}-{progress.step:09d}"))
        tensors = _tensors(network, optimizer)
        index = index_of(tensors, group.world)
        problem: OSError | None = None
        try:
            self._put_tensors(f"{name}/{part_name(group.rank)}", own_parts(tensors, index, group.rank))
        except OSError as error:
            problem = error
        if group.all_max(float(problem is not None)) > 0:
            raise problem or OSError("another process could not write its part of the training state")
        if not group.is_lead:
            return
        self._storage.put(f"{name}/state.json", progress.replace(tensors=index).model_dump_json())
        for old in self._saved:
            self._storage.delete_folder(old)
        self._saved = [name]

    def newest(self) -> tuple[str, Progress] | None:
        """Folder and progress of the whole state with the most steps, or None. Damaged ones are discarded."""
        found = [(name, progress) for name in self._storage.folders() if (progress := self._read(name))]
        for name, progress in sorted(found, key=lambda pair: pair[1].step, reverse=True):
            damage = self._damage(name, progress)
            if not damage:
                return name, progress
            self.note = f"its training state of step {progress.step} was discarded: {damage}"
            logger.warning("%s/%s: %s", self._storage.uri, name, self.note)
            self._storage.delete_folder(name)
        return None

    def _damage(self, name: str, progress: Progress) -> str:
        """What is wrong with the parts of a state; empty: nothing."""
        for rank in sorted({part.rank for entry in progress.tensors.values() for part in entry.parts}):
            path = f"{name}/{part_name(rank)}"
            try:
                sums = PartSum.model_validate_json(self._storage.get(_sum_name(path)))
                found = self._sum_on_storage(path)
            except FileNotFoundError:
                return f"{part_name(rank)} is not whole"
            except ValidationError:
                return f"the checksum of {part_name(rank)} is unreadable"
            if found != sums:
                return f"{part_name(rank)} is damaged"
        return ""

    def _sum_on_storage(self, path: str) -> "PartSum":
        if self._storage.is_local:
            return _sum_of(Path(self._storage.uri) / path)
        data = self._storage.get(path)
        return PartSum(bytes=len(data), crc32=zlib.crc32(data))

    def restore(self, name: str, progress: Progress, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Load the tensors of a state into a network and its optimizer, in place.

        The number of processes may differ from that of the run that saved the state.

        Args:
            name: folder of the state, from `newest`.
            progress: progress of that state, from `newest`.
            network: a whole network, or one sharded by FSDP2, for which only this process's rows are read.
            optimizer: optimizer of the network.
        """
        with tempfile.TemporaryDirectory(prefix="lft-state-") as cache:
            reader = TensorReader(self._storage.local_folder(name, Path(cache)), progress.tensors)
            targets = dict(network.named_parameters()) | dict(network.named_buffers())
            with torch.no_grad():
                for tensor_name in reader.names("model/"):
                    targets[tensor_name].copy_(reader.like(f"model/{tensor_name}", targets[tensor_name]))
                for parameter_name, parameter in network.named_parameters():
                    prefix = f"optimizer/{parameter_name}/"
                    moments = {
                        moment: self._moment(reader, prefix + moment, parameter) for moment in reader.names(prefix)
                    }
                    if moments:
                        optimizer.state[parameter] = moments
            torch.set_rng_state(reader.whole("rng"))

    @staticmethod
    def _moment(reader: TensorReader, name: str, parameter: nn.Parameter) -> torch.Tensor:
        # The step count is a scalar, which the fused kernel expects on the device of the weights.
        return reader.whole(name).to(parameter.device) if name.endswith("/step") else reader.like(name, parameter)

    def put_oom_record(self, halvings: int, peak_bytes: int) -> None:
        """Record that memory ran out where the processes could not agree on it; the next session starts halved."""
        self._storage.put("memory.json", OomRecord(halvings=halvings, peak_bytes=peak_bytes).model_dump_json())

    def oom_record(self) -> "OomRecord":
        """The latest such record."""
        try:
            return OomRecord.model_validate_json(self._storage.get("memory.json"))
        except (FileNotFoundError, ValidationError):
            return OomRecord()

    def put_usage(self, usage: Usage) -> None:
        """Record the usage of this session so far."""
        put_usage(self._storage, self._session, usage)

    def earlier_usage(self) -> Usage:
        """Sum of the usage recorded by all other sessions of this trial."""
        return noted_usage(self._storage, except_session=self._session) or Usage()

    def _read(self, name: str) -> Progress | None:
        if name.startswith(PREFIX):
            return None
        try:
            progress = Progress.model_validate_json(self._storage.get(f"{name}/state.json"))
        except FileNotFoundError:
            return None  # an interrupted save
        except ValidationError:
            self.note = f"a training state was discarded: {name}/state.json is damaged, or of another version"
            logger.warning("%s: %s", self._storage.uri, self.note)
            return None
        return progress if (progress.key, progress.format) == (self.key, FORMAT) else None

    def _put_tensors(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        # Written to a file first, not held as bytes: the training state is three times the size of the model.
        folder = Path(self._storage.uri) / Path(name).parent if self._storage.is_local else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".state-", dir=folder) as temporary:
            path = Path(temporary) / Path(name).name
            save_file(tensors, str(path))
            self._storage.put(_sum_name(name), _sum_of(path).model_dump_json())
            if folder is None:
                self._storage.put(name, path.read_bytes())
                return
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            path.replace(folder / path.name)


def _sum_name(part: str) -> str:
    """Name of the checksum of a part: ``sum-0000.json`` beside ``part-0000.safetensors``."""
    folder, _, name = part.rpartition("/")
    return f"{folder}/{name.replace('part-', 'sum-').replace('.safetensors', '.json')}"


def _sum_of(path: Path) -> PartSum:
    """Length and checksum of a file that was just written, so that its pages are still in memory."""
    size, crc = 0, 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return PartSum(bytes=size, crc32=crc)


def _tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    named = dict(network.named_parameters())
    tensors: dict[str, torch.Tensor] = {f"model/{name}": value.detach() for name, value in named.items()}
    # Each tied weight and buffer appears once, under its first name.
    tensors |= {f"model/{name}": value for name, value in network.named_buffers()}
    for name, parameter in named.items():
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{name}/{moment}"] = value.detach()
    return tensors | {"rng": torch.get_rng_state()}
