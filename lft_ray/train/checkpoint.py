"""The training state of a trial on storage, so that a crash costs at most one interval. Safetensors and JSON only.

One folder a save, ``<session>-<step>``: ``tensors.safetensors`` first, ``state.json`` last, so a folder with its JSON
is whole. A session is one process's run: two of them (one of which was thought dead) never write the same file. Beside
them lie the sessions' usage notes.
"""

import os
import tempfile
import uuid
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn

from lft_ray.records import CurvePoint, Record, Usage
from lft_ray.storage import Storage
from lft_ray.train.notes import PREFIX, noted_usage, put_usage

__all__ = ["Progress", "StateStore"]

FORMAT = 2
"""2: the token embedding holds the rows of the tokens that the data have."""


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

    def save(self, network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write the state; the one before it of this session goes when the new one is whole."""
        name = f"{self._session}-{progress.step:09d}"
        self._put_tensors(f"{name}/tensors.safetensors", _tensors(network, optimizer))
        self._storage.put(f"{name}/state.json", progress.model_dump_json())
        for old in self._saved:
            self._storage.delete_folder(old)
        self._saved = [name]

    def newest(self) -> tuple[str, Progress] | None:
        """Folder and progress of the state with the most steps, or None."""
        found = [(name, progress) for name in self._storage.folders() if (progress := self._read(name))]
        return max(found, key=lambda pair: pair[1].step) if found else None

    def restore(self, name: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Load the tensors of a state into a network and its optimizer, in place."""
        from safetensors.torch import load_file

        with tempfile.TemporaryDirectory(prefix="lft-state-") as cache:
            tensors = load_file(str(self._storage.local_folder(name, Path(cache)) / "tensors.safetensors"))
        weights = {key.removeprefix("model/"): value for key, value in tensors.items() if key.startswith("model/")}
        network.load_state_dict(weights, strict=False)
        for parameter_name, parameter in network.named_parameters():
            prefix = f"optimizer/{parameter_name}/"
            moments = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            if moments:
                # "step" too: the fused kernel wants it beside the weights.
                optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}
        torch.set_rng_state(tensors["rng"])

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
        from safetensors.torch import save_file

        # Through a file, not through bytes: the state of a model is three times its size.
        folder = Path(self._storage.uri) / Path(name).parent if self._storage.is_local else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".state-", dir=folder) as temporary:
            path = Path(temporary) / "tensors.safetensors"
            save_file(tensors, str(path))
            if folder is None:
                self._storage.put(name, path.read_bytes())
                return
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            path.replace(folder / path.name)


def _tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    named = dict(network.named_parameters())
    tensors = {f"model/{name}": value.detach().contiguous() for name, value in named.items()}
    kept = {value.data_ptr() for value in named.values()}
    # Buffers; a name that shares the memory of a parameter (tied weights) is one tensor and kept once.
    for name, value in network.state_dict().items():
        if name not in named and value.data_ptr() not in kept:
            tensors[f"model/{name}"] = value.detach().contiguous()
    for name, parameter in named.items():
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{name}/{moment}"] = value.detach().contiguous()
    return tensors | {"rng": torch.get_rng_state()}
