"""Frozen-layer activations, computed once per node and memory-mapped by every trial. In: a network, tokens. Out:
`Inputs` for the training loop.

There are two kinds of Arrow file. Token states: activations [tokens, hidden] after the first k layers, in the training
precision, as float32 or as the bits of bfloat16. Text features: pooled vectors [rows, hidden] in float32, after all
layers. The first trial that needs a file computes it and is charged for it. Never trains, never changes a weight.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from lft_ray.data.batches import Inputs, eval_batches
from lft_ray.data.encode import TokenFile
from lft_ray.data.store import create_once, target_array, target_column, write_batch, write_batches
from lft_ray.models.encoder import Transformer
from lft_ray.models.network import HeadedNetwork
from lft_ray.train.device.precision import autocast, matmul_precision
from lft_ray.train.device.process_group import Group, current_group
from lft_ray.train.loop.evaluate import Batching, extract_features

__all__ = ["ActivationStore", "Splits", "TextFeatures", "TokenStates", "text_features"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
Splits = tuple["TokenFile", "TokenFile"]
"""The train split and the validation split."""
CHUNK_TOKENS = 32_768
"""Tokens per record batch of a file: 50 MB of float32 at a hidden size of 384."""
FREE_DISK_FACTOR = 1.1
"""Free disk space required before a file is written, as a multiple of its size: a full disk would fail trials."""
_FORMAT = "1"
_KINDS: dict[str, Any] = {"fp32": np.float32, "bf16": np.int16}
"""NumPy has no bfloat16, so its bits are stored as 16-bit integers."""


class TokenStates:
    """Token states of one split after some layers, memory-mapped.

    Args:
        path: path of the Arrow file; each of its record batches holds the tokens of consecutive rows.
        tokens: tokens of the split.
        max_length: sequence length in tokens at which the states were computed.

    Raises:
        ValueError: the number of tokens in the file differs from that of the split.
    """

    def __init__(self, path: Path, tokens: TokenFile, max_length: int) -> None:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            columns = [reader.get_batch(i).column("states") for i in range(reader.num_record_batches)]
        self._chunks = [c.flatten().to_numpy().reshape(len(c), c.type.list_size) for c in columns]
        self._chunk_ends = np.cumsum([len(chunk) for chunk in self._chunks])
        self._lengths = tokens.lengths(max_length)
        self._ends = np.cumsum(self._lengths)
        if not len(self._ends) or self._chunk_ends[-1] != self._ends[-1]:
            raise ValueError(f"{path} holds the states of other tokens: expected {self._lengths.sum()} tokens")
        self.targets: NDArray[Any] = tokens.targets
        self.truth: NDArray[Any] = tokens.truth
        self._max_length = max_length

    def __len__(self) -> int:
        return len(self._lengths)

    def lengths(self, max_length: int) -> NDArray[np.int64]:
        """Return the number of tokens per row, int64 [n]; ``max_length`` must be that of the states."""
        if max_length != self._max_length:
            raise ValueError(
                f"the states were computed at max_length {self._max_length}, but {max_length} was requested"
            )
        return self._lengths

    def tensors(self, rows: NDArray[np.int64], max_length: int, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states [k, t, hidden], zero after the end of a shorter text, and mask [k, t]."""
        del pad_id
        lengths = self.lengths(max_length)[rows]
        mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
        padded = np.zeros((*mask.shape, self._chunks[0].shape[1]), self._chunks[0].dtype)
        for place, row in enumerate(rows):
            padded[place, : lengths[place]] = self._states(row)
        states = torch.from_numpy(padded)
        if states.dtype is torch.int16:
            states = states.view(torch.bfloat16)
        return states, torch.from_numpy(mask.astype(np.int64))

    def _states(self, row: int) -> NDArray[Any]:
        first = self._ends[row] - self._lengths[row]
        number = int(np.searchsorted(self._chunk_ends, first, side="right"))
        chunk = self._chunks[number]
        at = first - (self._chunk_ends[number] - len(chunk))
        return np.asarray(chunk[at : at + self._lengths[row]])


class TextFeatures:
    """One feature vector per text.

    Args:
        features: float32 [n, hidden].
        targets: int64 [n], or float32 [n, c].
    """

    def __init__(self, features: NDArray[np.float32], targets: NDArray[Any]) -> None:
        self.features, self.targets, self.truth = features, targets, targets

    def __len__(self) -> int:
        return len(self.features)

    def lengths(self, max_length: int) -> NDArray[np.int64]:
        """Return 1 for each row: the network reads one vector, whatever the length of the text."""
        del max_length
        return np.ones(len(self.features), np.int64)

    def tensors(self, rows: NDArray[np.int64], max_length: int, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features [k, hidden] and a mask of ones [k, 1]."""
        del max_length, pad_id
        # Indexing copies. The file itself is mapped read-only, and torch.from_numpy warns about read-only arrays.
        return torch.from_numpy(self.features[rows]), torch.ones(len(rows), 1, dtype=torch.int64)


@dataclass(frozen=True, slots=True)
class ActivationStore:
    """Activation files of a node.

    Attributes:
        folder: folder of the files.
        key: identifies what the activations depend on besides layers, length and precision: data set, base, weights.
        limit_bytes: maximum size of the folder; the least recently used files are removed first.
    """

    folder: Path
    key: str
    limit_bytes: int

    def token_states(
        self, backbone: Transformer, layers: int, splits: Splits, batching: Batching
    ) -> tuple[TokenStates, TokenStates] | None:
        """States of train and validation after the first ``layers`` layers; None if they are too large to store.

        Args:
            backbone: pretrained backbone with at least ``layers`` layers.
            layers: number of frozen layers.
            splits: tokens of both splits.
            batching: how rows become tensors, and the compute precision.
        """
        length = batching.max_length
        width = backbone.shape.hidden * np.dtype(_KINDS[batching.dtype]).itemsize
        sizes = [int(tokens.lengths(length).sum()) * width for tokens in splits]
        if sum(sizes) > self.limit_bytes:
            self._warn_too_large(sum(sizes))
            return None

        def of(name: str, tokens: TokenFile, size: int) -> TokenStates | None:
            return self._file(
                f"{self._digest('states', layers, batching)}-{name}.arrow",
                size,
                lambda path: TokenStates(path, tokens, length),
                lambda path: _write_states(path, backbone, layers, tokens, batching),
            )

        train, validation = of("train", splits[0], sizes[0]), of("validation", splits[1], sizes[1])
        return None if train is None or validation is None else (train, validation)

    def features(
        self, network: HeadedNetwork, layers: int, tokens: TokenFile, name: str, batching: Batching
    ) -> NDArray[np.float32] | None:
        """Pooled features of a split after all ``layers`` layers, float32 [n, hidden]; None if too large to store."""
        size = 4 * len(tokens) * network.head.in_features
        if size > self.limit_bytes:
            self._warn_too_large(size)
            return None
        kind = f"features-{network.pooling}"
        return self._file(
            f"{self._digest(kind, layers, batching)}-{name}.arrow",
            size,
            lambda path: _read_features(path, len(tokens)),
            lambda path: _write_features(path, extract_features(network, tokens, batching, group=Group())),
        )

    def _digest(self, kind: str, layers: int, batching: Batching) -> str:
        parts = [_FORMAT, self.key, kind, layers, batching.max_length, batching.dtype]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    def _warn_too_large(self, size: int) -> None:
        # A limit of 0 turns the cache off: nothing to warn about.
        if self.limit_bytes:
            logger.warning(
                "activations of %.3g GB are recomputed in every pass: training.activation_cache_gb allows %.3g GB",
                size / 1e9,
                self.limit_bytes / 1e9,
            )

    def _file(self, name: str, size: int, read: Callable[[Path], T], write: Callable[[Path], None]) -> T | None:
        """Open a file of ``size`` bytes, or create it; None if the disk is too full."""
        path = self.folder / name

        def opened() -> T | None:
            try:
                found = read(path)
            except (OSError, pa.ArrowException, KeyError, ValueError):
                return None
            with suppress(OSError):
                os.utime(path)  # the modification time marks when the file was last used
            return found

        def make() -> None:
            if self._has_room(size, name):
                write(path)

        return create_once(path, opened, make)

    def _has_room(self, size: int, name: str) -> bool:
        """Make room for a file; False if the disk is too full. A deleted file stays readable while it is mapped."""
        stored = sorted((p.stat().st_mtime, p.stat().st_size, p) for p in self.folder.glob("*.arrow") if p.name != name)
        total = sum(bytes_ for _, bytes_, _ in stored)
        while stored and total + size > self.limit_bytes:
            _, freed, oldest = stored.pop(0)
            oldest.unlink(missing_ok=True)
            total -= freed
        free = shutil.disk_usage(self.folder).free
        if free < FREE_DISK_FACTOR * size:
            logger.warning(
                "%s has %.1f GB free: activations of %.1f GB are not stored", self.folder, free / 1e9, size / 1e9
            )
            return False
        return True


def text_features(
    store: ActivationStore | None, network: HeadedNetwork, layers: int, splits: Splits, batching: Batching
) -> tuple[TextFeatures, TextFeatures]:
    """Features of train and validation: from the store's files where it has them, else computed for this trial."""
    found = []
    for name, tokens in zip(("train", "validation"), splits, strict=True):
        features = None if store is None else store.features(network, layers, tokens, name, batching)
        # The processes share this pass, so either all make it or none.
        lacking = current_group().all_sum([features is None])[0]
        if features is None or lacking:
            features = extract_features(network, tokens, batching)
        found.append(TextFeatures(features, tokens.targets))
    return found[0], found[1]


def _write_states(path: Path, backbone: Transformer, layers: int, tokens: Inputs, batching: Batching) -> None:
    kind = pa.int16() if batching.dtype == "bf16" else pa.float32()
    schema = pa.schema([("states", pa.list_(kind, backbone.shape.hidden))])
    chunks = _computed(backbone, layers, tokens, batching)
    columns = (pa.FixedSizeListArray.from_arrays(pa.array(c.reshape(-1)), backbone.shape.hidden) for c in chunks)
    write_batches(schema, (pa.record_batch([column], schema=schema) for column in columns), path)


def _computed(backbone: Transformer, layers: int, tokens: Inputs, batching: Batching) -> Iterator[NDArray[Any]]:
    """Yield states [tokens, hidden] of consecutive rows; within each chunk, rows are computed sorted by length."""
    lengths = tokens.lengths(batching.max_length)
    # A chunk begins at the row where the tokens before it fill another `CHUNK_TOKENS`.
    number = (np.cumsum(lengths) - lengths) // CHUNK_TOKENS
    for rows in np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(number)) + 1):
        starts = np.cumsum(lengths[rows]) - lengths[rows]
        states = np.empty((int(lengths[rows].sum()), backbone.shape.hidden), _KINDS[batching.dtype])
        with torch.inference_mode(), matmul_precision(batching.device), autocast(batching.device, batching.dtype):
            for part in eval_batches(lengths[rows], batching.micro_batch_tokens):
                ids, mask = tokens.tensors(rows[part], batching.max_length, batching.pad_id)
                computed = backbone.lower(ids.to(batching.device), mask.to(batching.device), layers)
                plain = _plain(computed, batching.dtype)
                for place, row in enumerate(part):
                    states[starts[row] : starts[row] + lengths[rows[row]]] = plain[place, : lengths[rows[row]]]
        yield states


def _plain(states: torch.Tensor, dtype: str) -> NDArray[Any]:
    if dtype == "bf16":
        plain: NDArray[Any] = states.to(torch.bfloat16).cpu().view(torch.int16).numpy()
        return plain
    return np.asarray(states.float().cpu().numpy())


def _write_features(path: Path, features: NDArray[np.float32]) -> None:
    write_batch(pa.record_batch({"features": target_column(features)}), path)


def _read_features(path: Path, rows: int) -> NDArray[np.float32]:
    with pa.memory_map(str(path)) as source:
        features = target_array(pa.ipc.open_file(source).get_batch(0).column("features"))
    if len(features) != rows:
        raise ValueError(f"{path} holds {len(features)} rows, expected {rows}")
    return features
