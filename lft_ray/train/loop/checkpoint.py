"""The training state of a trial on storage, so that a crash costs at most one interval. Safetensors and JSON only.

One folder a save, ``<session>-<step>``: first each process's ``part-<rank>.safetensors``, last ``state.json``, which
says what is where: so a folder with its JSON is whole, and any number of processes can go on from it. A session is one
run: two of them (one of which was thought dead) never write the same file. Beside them lie the sessions' usage notes.
"""

import os
import tempfile
import uuid
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

FORMAT = 3
"""2: the token embedding holds the rows of the tokens that the data have. 3: each process writes a part."""


class Progress(Record):
    """Where a training run stands, besides its tensors."""

    format: int = FORMAT
    key: str
    """Fingerprint of all that decides the run; a state of another key is not resumed."""
    step: int
    """Optimiser steps done."""
    curve: list[CurvePoint]
    loss_sum: float = 0.0
    """Training loss and its divisor since the last curve point."""
    loss_weight: float = 0.0
    tensors: dict[str, Entry] = Field(default_factory=dict)
    """What the files hold and which rows are where; filled in when it is saved."""


class OomRecord(Record):
    """How often a step has to be cut in half, as sessions that ran out of memory found, and the most that they held."""

    halvings: int = 0
    peak_bytes: int = 0


class StateStore:
    """Saves and finds training states of one trial.

    Args:
        storage: the trial's state folder; removed by the caller when the trial is over.
        key: fingerprint of all that decides the run.
    """

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage = storage
        self.key = key
        self._session = uuid.uuid4().hex[:12]
        self._saved: list[str] = []

    def save(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, group: Group | None = None
    ) -> None:
        """Write the state; the one before it of this session goes when the new one is whole.

        Every process of ``group`` must call it, and writes its part.

        Raises:
            OSError: on every process, where one of them could not write.
        """
        group = group or Group()
        name = str(group.from_lead(f"{self._session}-{progress.step:09d}"))
        tensors = _tensors(network, optimizer)
        index = index_of(tensors, group.world)
        problem: OSError | None = None
        try:
            self._put_tensors(f"{name}/{part_name(group.rank)}", own_parts(tensors, index, group.rank))
        except OSError as error:
            problem = error
        if group.largest(float(problem is not None)) > 0:
            raise problem or OSError("another process could not write its part of the training state")
        if not group.leads:
            return
        self._storage.put(f"{name}/state.json", progress.replace(tensors=index).model_dump_json())
        for old in self._saved:
            self._storage.delete_folder(old)
        self._saved = [name]

    def newest(self) -> tuple[str, Progress] | None:
        """Folder and progress of the state with the most steps, or None."""
        found = [(name, progress) for name in self._storage.folders() if (progress := self._read(name))]
        return max(found, key=lambda pair: pair[1].step) if found else None

    def restore(self, name: str, progress: Progress, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Load the tensors of a state into a network and its optimizer, in place; as many processes as like may do so.

        Args:
            name: folder, from `newest`.
            progress: of that state.
            network: whole, or sharded by FSDP2: then only this process's rows are read.
            optimizer: of the network.
        """
        with tempfile.TemporaryDirectory(prefix="lft-state-") as cache:
            reader = TensorReader(self._storage.local_folder(name, Path(cache)), progress.tensors)
            held = dict(network.named_parameters()) | dict(network.named_buffers())
            with torch.no_grad():
                for tensor_name in reader.names("model/"):
                    held[tensor_name].copy_(reader.like(f"model/{tensor_name}", held[tensor_name]))
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
        # The count of steps is one number, which the fused kernel wants beside the weights.
        return reader.whole(name).to(parameter.device) if name.endswith("/step") else reader.like(name, parameter)

    def put_halvings(self, halvings: int, peak_bytes: int) -> None:
        """Note that memory ran out where the processes could not agree on it: the next session begins so far down."""
        self._storage.put("memory.json", OomRecord(halvings=halvings, peak_bytes=peak_bytes).model_dump_json())

    def scarcity(self) -> "OomRecord":
        """What was noted last."""
        if not self._storage.exists("memory.json"):
            return OomRecord()
        return OomRecord.model_validate_json(self._storage.get("memory.json"))

    def put_usage(self, usage: Usage) -> None:
        """Note what this session has spent so far."""
        put_usage(self._storage, self._session, usage)

    def spent_before(self) -> Usage:
        """Sum of what all other sessions of this trial noted."""
        return noted_usage(self._storage, but=self._session) or Usage()

    def _read(self, name: str) -> Progress | None:
        if name.startswith(PREFIX):
            return None
        try:
            progress = Progress.model_validate_json(self._storage.get(f"{name}/state.json"))
        except (FileNotFoundError, ValidationError):
            return None  # a save that was cut off, or a state of another version: as good as none
        return progress if (progress.key, progress.format) == (self.key, FORMAT) else None

    def _put_tensors(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        # Through a file, not through bytes: the state of a model is three times its size.
        folder = Path(self._storage.uri) / Path(name).parent if self._storage.is_local else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".state-", dir=folder) as temporary:
            path = Path(temporary) / Path(name).name
            save_file(tensors, str(path))
            if folder is None:
                self._storage.put(name, path.read_bytes())
                return
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            path.replace(folder / path.name)


def _tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    named = dict(network.named_parameters())
    tensors: dict[str, torch.Tensor] = {f"model/{name}": value.detach() for name, value in named.items()}
    # Tied weights and buffers come once under each method's first name.
    tensors |= {f"model/{name}": value for name, value in network.named_buffers()}
    for name, parameter in named.items():
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{name}/{moment}"] = value.detach()
    return tensors | {"rng": torch.get_rng_state()}
