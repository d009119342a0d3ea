"""What frozen layers answer, computed once a node and mapped by every trial. In: a network, tokens. Out: `Inputs`.

Two kinds of Arrow file. Token states: the activations [tokens, hidden] behind the first k layers, in the training
precision, as float32 or as the bits of bfloat16. Text features: pooled vectors [rows, hidden] in float32, behind all
layers. The first trial that wants a file makes it and is charged for it. Never trains, never changes a weight.
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
from lft_ray.data.store import made_once, target_array, target_column, write_batch, write_batches
from lft_ray.models.encoder import Transformer
from lft_ray.models.network import HeadedNetwork
from lft_ray.train.device.precision import autocast, matmul_precision
from lft_ray.train.device.process_group import Group, current_group
from lft_ray.train.loop.evaluate import Batching, extract_features

__all__ = ["ActivationStore", "Splits", "TextFeatures", "TokenStates", "text_features"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
Splits = tuple["TokenFile", "TokenFile"]
"""Train and validation."""
CHUNK_TOKENS = 32_768
"""Tokens written at a time: 50 MB of float32 at a width of 384."""
SPARE = 1.1
"""Free disk that a file must leave, as a multiple of its size: a full disk would fail trials."""
_FORMAT = "1"
_KINDS: dict[str, Any] = {"fp32": np.float32, "bf16": np.int16}
"""NumPy has no bfloat16: its bits are kept as whole numbers."""


class TokenStates:
    """The states of one split behind some layers, memory-mapped.

    Args:
        path: of the Arrow file; each of its batches holds the tokens of some rows in a row.
        tokens: the split.
        max_length: at which the states were computed.

    Raises:
        ValueError: the file holds other tokens.
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
            raise ValueError(f"{path} holds other tokens")
        self.targets: NDArray[Any] = tokens.targets
        self._max_length = max_length

    def __len__(self) -> int:
        return len(self._lengths)

    def lengths(self, max_length: int) -> NDArray[np.int64]:
        """Return the tokens of each row, int64 [n]; states were computed at one length alone."""
        if max_length != self._max_length:
            raise ValueError(f"states of {self._max_length} tokens a text were asked for {max_length}")
        return self._lengths

    def tensors(self, rows: NDArray[np.int64], max_length: int, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states [k, t, hidden], zero behind a shorter text, and mask [k, t]."""
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
    """One vector a text.

    Args:
        features: float32 [n, hidden].
        targets: int64 [n], or float32 [n, c].
    """

    def __init__(self, features: NDArray[np.float32], targets: NDArray[Any]) -> None:
        self.features, self.targets = features, targets

    def __len__(self) -> int:
        return len(self.features)

    def lengths(self, max_length: int) -> NDArray[np.int64]:
        """Return 1 for each row: a vector is read, whatever the text's length."""
        del max_length
        return np.ones(len(self.features), np.int64)

    def tensors(self, rows: NDArray[np.int64], max_length: int, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features [k, hidden] and a mask of ones [k, 1]."""
        del max_length, pad_id
        # Indexing copies: the file itself is mapped read-only, which torch.from_numpy warns about.
        return torch.from_numpy(self.features[rows]), torch.ones(len(rows), 1, dtype=torch.int64)


@dataclass(frozen=True, slots=True)
class ActivationStore:
    """A node's files.

    Attributes:
        folder: where they lie.
        key: what the answers depend on beside layers, length and precision: data, base and its weights.
        limit_bytes: what the folder may hold; files unused longest go first.
    """

    folder: Path
    key: str
    limit_bytes: int

    def token_states(
        self, backbone: Transformer, layers: int, splits: Splits, batching: Batching
    ) -> tuple[TokenStates, TokenStates] | None:
        """States of train and validation behind the first ``layers`` layers; None: they are too large to be kept.

        Args:
            backbone: as the base is, cut anywhere at or above ``layers``.
            layers: how many.
            splits: tokens of both.
            batching: how rows become tensors, and what is computed in.
        """
        length = batching.max_length
        width = backbone.shape.hidden * np.dtype(_KINDS[batching.dtype]).itemsize
        sizes = [int(tokens.lengths(length).sum()) * width for tokens in splits]
        if sum(sizes) > self.limit_bytes:
            self._say_too_large(sum(sizes))
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
        """Pooled features of a split behind all ``layers`` layers, float32 [n, hidden]; None: too large to be kept."""
        size = 4 * len(tokens) * network.head.in_features
        if size > self.limit_bytes:
            self._say_too_large(size)
            return None
        what = f"features-{network.pooling}"
        return self._file(
            f"{self._digest(what, layers, batching)}-{name}.arrow",
            size,
            lambda path: _read_features(path, len(tokens)),
            lambda path: _write_features(path, extract_features(network, tokens, batching, group=Group())),
        )

    def _digest(self, what: str, layers: int, batching: Batching) -> str:
        parts = [_FORMAT, self.key, what, layers, batching.max_length, batching.dtype]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]

    def _say_too_large(self, size: int) -> None:
        if self.limit_bytes:
            logger.warning(
                "activations of %.3g GB are computed anew: training.activation_cache_gb allows %.3g",
                size / 1e9,
                self.limit_bytes / 1e9,
            )

    def _file(self, name: str, size: int, read: Callable[[Path], T], write: Callable[[Path], None]) -> T | None:
        """Open a file of ``size`` bytes, or make it; None where the disk has no room."""
        path = self.folder / name

        def opened() -> T | None:
            try:
                found = read(path)
            except (OSError, pa.ArrowException, KeyError, ValueError):
                return None
            with suppress(OSError):
                os.utime(path)
            return found

        def make() -> None:
            if self._has_room(size, name):
                write(path)

        return made_once(path, opened, make)

    def _has_room(self, size: int, name: str) -> bool:
        """Make room for a file; False where the disk itself has none. A removed file lives on while it is mapped."""
        held = sorted((p.stat().st_mtime, p.stat().st_size, p) for p in self.folder.glob("*.arrow") if p.name != name)
        total = sum(bytes_ for _, bytes_, _ in held)
        while held and total + size > self.limit_bytes:
            _, freed, oldest = held.pop(0)
            oldest.unlink(missing_ok=True)
            total -= freed
        free = shutil.disk_usage(self.folder).free
        if free < SPARE * size:
            logger.warning(
                "%s has %.1f GB free: activations of %.1f GB are not kept", self.folder, free / 1e9, size / 1e9
            )
            return False
        return True


def text_features(
    store: ActivationStore | None, network: HeadedNetwork, layers: int, splits: Splits, batching: Batching
) -> tuple[TextFeatures, TextFeatures]:
    """Features of train and validation: from the store's files where it keeps them, else computed for this trial."""
    found = []
    for name, tokens in zip(("train", "validation"), splits, strict=True):
        features = None if store is None else store.features(network, layers, tokens, name, batching)
        # The pass is shared, so all processes must make it, or none.
        lacking = current_group().total([features is None])[0]
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
    """States [tokens, hidden] of some rows in a row, again and again; computed sorted by length."""
    lengths = tokens.lengths(batching.max_length)
    # A part begins where the tokens before a row fill another chunk.
    number = (np.cumsum(lengths) - lengths) // CHUNK_TOKENS
    for rows in np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(number)) + 1):
        starts = np.cumsum(lengths[rows]) - lengths[rows]
        states = np.empty((int(lengths[rows].sum()), backbone.shape.hidden), _KINDS[batching.dtype])
        with torch.inference_mode(), matmul_precision(batching.device), autocast(batching.device, batching.dtype):
            for part in eval_batches(lengths[rows], batching.micro_batch_tokens):
                ids, mask = tokens.tensors(rows[part], batching.max_length, batching.pad_id)
                answers = backbone.lower(ids.to(batching.device), mask.to(batching.device), layers)
                plain = _plain(answers, batching.dtype)
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
