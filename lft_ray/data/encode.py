"""Tokenise each split once per tokenizer. In: a split and a tokenizer.json. Out: a memory-mapped `TokenFile`.

Texts are stored untruncated (up to 8,192 tokens); truncation happens when a batch is gathered, so variants with other
lengths need no second file. Uses only the tokenizers library: importing transformers takes seconds.
"""

import hashlib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lft_ray.data.batches import collate
from lft_ray.data.store import MOST_TEXTS, Split, create_once, load_split, target_array, target_column, write_batch
from lft_ray.errors import ModelError
from lft_ray.models.segments import PairTemplate
from lft_ray.models.tokens import Pair
from lft_ray.records import DatasetRecord
from lft_ray.run.checksums import is_sealed, seal
from lft_ray.texts import Text, normal_text

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

__all__ = ["MAX_TOKENS", "TokenFile", "encode_split"]

MAX_TOKENS = 8192
"""Tokens stored per text; longer texts are truncated here."""
CHUNK_TEXTS = 1024
"""Texts per call of the tokenizer, which bounds the memory of its encodings."""
_FORMAT = b"1"
"""Version of the file layout, written to the schema metadata."""


class TokenFile:
    """Token ids of one split of n rows, memory-mapped and read-only. Pickled by path, so workers map the same file.

    Attributes:
        offsets: int64 [n + 1]; row i is ``values[offsets[i]:offsets[i + 1]]``.
        values: token ids, special tokens included, uint16 or uint32 [total].
        targets: int64 [n] class indices, or float32 [n, c] of 0 and 1.
        row_ids: position of each row in its source, uint32 [n].
        end_id: id of the special token that the tokenizer appends to every text, or None.
        first: of pairs, tokens of the first text without special ones, int32 [n]; None for single texts.
    """

    def __init__(self, path: Path) -> None:
        with pa.memory_map(str(path)) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
        metadata = batch.schema.metadata
        ids = batch.column("ids")
        self.path = path
        self.offsets: NDArray[np.int64] = ids.offsets.to_numpy()
        self.values: NDArray[Any] = ids.values.to_numpy()
        self.targets: NDArray[Any] = target_array(batch.column("target"))
        self.row_ids: NDArray[np.uint32] = batch.column("row_id").to_numpy()
        self.end_id = int(metadata[b"end_id"]) if metadata[b"end_id"] else None
        is_pair = b"pair" in metadata
        self.first: NDArray[np.int32] | None = batch.column("first").to_numpy() if is_pair else None
        self._template = PairTemplate.from_json(metadata[b"pair"].decode()) if is_pair else None

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def truth(self) -> NDArray[Any]:
        """What each row is judged by: its target."""
        return self.targets

    def at(self, max_length: int) -> "TokenFile":
        """Return these tokens: they are truncated when they are read."""
        del max_length
        return self

    def encoded(self, max_length: int) -> list[Any]:
        """All rows as an engine encodes them."""
        return self.gather(np.arange(len(self)), max_length)

    def __reduce__(self) -> tuple[object, ...]:
        return (TokenFile, (self.path,))

    def renumbered(self, numbers: NDArray[np.uint32]) -> "RenumberedTokens":
        """Return a copy in memory with each token id i replaced by ``numbers[i]``; ``numbers``: uint32 [vocabulary]."""
        return RenumberedTokens(self.path, numbers)

    def lengths(self, max_length: int) -> NDArray[np.int64]:
        """Return the token count of each row after truncation, int64 [n]."""
        lengths: NDArray[np.int64] = np.minimum(np.diff(self.offsets), max_length)
        return lengths

    def truncated_share(self, max_length: int) -> float:
        """Return the share of rows that are truncated at ``max_length`` tokens."""
        return float((np.diff(self.offsets) > max_length).mean()) if len(self) else 0.0

    def gather(self, rows: NDArray[np.int64], max_length: int) -> list[Any]:
        """Return the ids of some rows, truncated to ``max_length``; a truncated text keeps its end token, if any.

        Returns:
            Arrays, or `Pair` of two texts, of which the longer is truncated.
        """
        if self._template is not None:
            return [self._pair(self._template, int(row), max_length) for row in rows]
        result = []
        for row in rows:
            ids = self.values[self.offsets[row] : self.offsets[row + 1]]
            if len(ids) > max_length:
                is_ended = self.end_id is not None and ids[-1] == self.end_id
                ids = np.append(ids[: max_length - 1], ids[-1]) if is_ended else ids[:max_length]
            result.append(ids)
        return result

    def _pair(self, template: PairTemplate, row: int, max_length: int) -> Pair:
        assert self.first is not None
        ids = self.values[self.offsets[row] : self.offsets[row + 1]]
        start = len(template.before)
        end = start + int(self.first[row])
        second = ids[end + len(template.between) : len(ids) - len(template.after)]
        return Pair(*template.joined(ids[start:end].tolist(), second.tolist(), max_length))

    def tensors(self, rows: NDArray[np.int64], max_length: int, pad_id: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return ids and mask of some rows, padded with ``pad_id``; see `lft_ray.data.batches.collate`.

        Of pairs the ids are [k, t, 2], with the number of the text of each token.
        """
        encoded = self.gather(rows, max_length)
        if self._template is None:
            return collate(encoded, pad_id)
        import torch

        ids, mask = collate([np.array(pair, np.int64) for pair in encoded], pad_id)
        types, _ = collate([np.array(pair.types, np.int64) for pair in encoded], 0)
        return torch.stack([ids, types], dim=-1), mask


class RenumberedTokens(TokenFile):
    """A token file whose ids are mapped to another vocabulary."""

    def __init__(self, path: Path, numbers: NDArray[np.uint32]) -> None:
        super().__init__(path)
        self._numbers = numbers
        self.values = numbers[self.values]
        self.end_id = None if self.end_id is None else int(numbers[self.end_id])
        self._template = None if self._template is None else self._template.renumbered(numbers)

    def __reduce__(self) -> tuple[object, ...]:
        return (RenumberedTokens, (self.path, self._numbers))


def encode_split(record: DatasetRecord, split_name: str, tokenizer_folder: Path, folder: Path) -> TokenFile:
    """Tokenise a split, or open the token file that another process has written.

    Args:
        record: data set, as returned by `prepare`.
        split_name: train, validation or test.
        tokenizer_folder: folder with a ``tokenizer.json``.
        folder: cache folder for token files on this machine. Concurrent calls tokenise once, under a lock.

    Raises:
        ModelError: there is no usable ``tokenizer.json``.
        DataError: the split cannot be opened.
    """
    source, path = token_path(record, split_name, tokenizer_folder, folder)
    tokens = create_once(path, lambda: _open(path), lambda: _build(record, split_name, source, path))
    return TokenFile(path) if tokens is None else tokens


def token_path(record: DatasetRecord, split_name: str, tokenizer_folder: Path, folder: Path) -> tuple[Path, Path]:
    """Return the ``tokenizer.json`` of a folder, and the file for the tokens of a split under it.

    Raises:
        ModelError: there is no ``tokenizer.json``.
    """
    source = tokenizer_folder / "tokenizer.json"
    try:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"no tokenizer at {source}: {error}", fix="use a model with a tokenizer.json") from error
    return source, folder / f"{record.fingerprint[:12]}-{digest[:12]}-{split_name}.arrow"


def read_tokenizer(source: Path) -> "Tokenizer":
    """Read a ``tokenizer.json``.

    Raises:
        ModelError: the file is damaged.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(source))
    except Exception as error:  # the library raises plain Exception for a damaged file
        raise ModelError(f"cannot read {source}: {error}", fix="download the model again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _open(path: Path) -> TokenFile | None:
    try:
        return TokenFile(path) if is_sealed(path) else None
    except (OSError, pa.ArrowException, KeyError, IndexError):
        # Missing, changed, truncated or written by another version: the caller builds it again from the split.
        return None


def _build(record: DatasetRecord, split_name: str, source: Path, path: Path) -> None:
    split = load_split(record, split_name, cache=path.parent)
    tokenizer = read_tokenizer(source)
    tokenizer.enable_truncation(MAX_TOKENS)
    # 2 bytes per token where the vocabulary allows it: the file is read through the page cache.
    small = tokenizer.get_vocab_size(with_added_tokens=True) < 65_536
    parts = _encoded(tokenizer, split, np.uint16 if small else np.uint32)
    offsets = np.concatenate([[0], np.cumsum(parts.lengths)]).astype(np.int64)
    end_id = _end_id(tokenizer)
    columns = {
        "row_id": pa.array(split.row_ids),
        "ids": pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(parts.values)),
        "target": target_column(split.targets),
    }
    metadata = {"end_id": "" if end_id is None else str(end_id), "format": _FORMAT}
    if len(split.inputs) == MOST_TEXTS:
        columns["first"] = pa.array(parts.first)
        tokenizer.no_truncation()
        metadata["pair"] = PairTemplate.of(tokenizer).to_json()
    batch = pa.record_batch(columns)
    write_batch(batch.replace_schema_metadata(metadata), path)
    seal(path)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Token ids of n rows: their numbers, all of them one after the other, and the tokens of each first text."""

    lengths: NDArray[np.int64]
    values: NDArray[Any]
    first: NDArray[np.int32]


def _encoded(tokenizer: "Tokenizer", split: Split, kind: type) -> _Encoded:
    lengths: list[int] = []
    first: list[int] = []
    parts: list[NDArray[Any]] = []
    for start in range(0, len(split), CHUNK_TEXTS):
        chunk = [_normal(text) for text in split.slice(start, CHUNK_TEXTS)]
        encodings = tokenizer.encode_batch_fast(chunk)
        # A text made only of characters that the tokenizer drops has no tokens, and networks need at least one: use
        # token 0.
        rows = [encoding.ids or [0] for encoding in encodings]
        lengths += map(len, rows)
        if len(split.inputs) == MOST_TEXTS:
            first += [encoding.sequence_ids.count(0) for encoding in encodings]
        parts.append(np.fromiter(chain.from_iterable(rows), dtype=kind))
    values = np.concatenate(parts) if parts else np.empty(0, dtype=kind)
    return _Encoded(np.array(lengths, dtype=np.int64), values, np.array(first, dtype=np.int32))


def _normal(text: Text) -> Text:
    return normal_text(text) if isinstance(text, str) else (normal_text(text[0]), normal_text(text[1]))


def _end_id(tokenizer: "Tokenizer") -> int | None:
    """Return the id of the special token appended to every text: [SEP] for BERT, None for GPT-2."""
    encoding = tokenizer.encode("a")
    return encoding.ids[-1] if encoding.ids and encoding.special_tokens_mask[-1] else None
