"""Questions as a network reads them: windows of their contexts. In: a prepared split. Out: a `WindowTokens`.

Questions and contexts are tokenised once per node, and stored with the characters that each token came from; windows of
a length are laid out from that when a trial starts. Uses only the tokenizers library.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lft_ray.data.batches import collate
from lft_ray.data.encode import read_tokenizer, token_path
from lft_ray.data.store import Split, create_once, load_split, write_batch
from lft_ray.models.passages import ContextTokens, Passage, PassageTokenizer, Window, windows_of
from lft_ray.models.segments import PairTemplate
from lft_ray.models.spans import best_spans
from lft_ray.records import DatasetRecord
from lft_ray.run.checksums import is_sealed, seal
from lft_ray.tasks.base import AnsweringTask
from lft_ray.tasks.find import make_task
from lft_ray.tasks.questions.layout import WIDTH, merged
from lft_ray.tasks.questions.task import NO_TARGET

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

__all__ = ["QuestionTokens", "WindowTokens", "encode_questions"]

MOST_WINDOW_TOKENS = 512
"""Length of windows that the stored part of a context must fill; longer ones read less of the longest contexts."""
CHUNK_CONTEXTS = 512
"""Contexts tokenised at a time."""
_FORMAT = "1"

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class QuestionTokens:
    """Tokens of the questions and contexts of one split, memory-mapped.

    Attributes:
        path: the Arrow file.
        truth: what the answers are judged by, object [n].
        row_ids: position of each row in its source, uint32 [n].
        longest: maximum tokens of an answer.
    """

    path: Path
    truth: NDArray[Any]
    row_ids: NDArray[np.uint32]
    longest: int

    def __len__(self) -> int:
        return len(self.row_ids)

    def at(self, max_length: int) -> "WindowTokens":
        """Lay out windows of at most ``max_length`` tokens: 0.1 ms a question, too little to keep them for a trial."""
        passages = [self._passage(row, max_length) for row in range(len(self))]
        return WindowTokens(self, max_length, passages)

    @cached_property
    def _batch(self) -> pa.RecordBatch:
        with pa.memory_map(str(self.path)) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
        if batch.schema.metadata[b"format"] != _FORMAT.encode():
            raise KeyError("format")
        return batch

    @cached_property
    def _template(self) -> PairTemplate:
        return PairTemplate.from_json(self._batch.schema.metadata[b"pair"].decode())

    def check(self) -> None:
        """Read the file.

        Raises:
            OSError, KeyError, pyarrow.ArrowException: it is missing, truncated or of another version.
        """
        if len(self._batch) != len(self):
            raise KeyError("rows")

    def _passage(self, row: int, max_length: int) -> Passage:
        batch = self._batch
        question = batch.column("question")[row].values.to_numpy()
        ids = batch.column("context")[row].values.to_numpy()
        places = batch.column("places")[row].values.to_numpy().reshape(-1, 2)
        context = ContextTokens(ids, places, is_whole=batch.column("is_whole")[row].as_py())
        return windows_of(question, context, self._template, max_length)


class WindowTokens:
    """The windows of one split at one length: `lft_ray.data.batches.Inputs` whose rows are windows.

    Args:
        source: tokens of the split.
        max_length: length of the windows in tokens.
        passages: the windows of each question [n].

    Attributes:
        values: token ids of all windows, one after the other.
        targets: positions of start and end of the answer in each window, int64 [windows, 2]; 0 where it has none.
        truth: what each question is judged by, object [n].
        row_ids: position of each question in its source [n].
    """

    def __init__(self, source: QuestionTokens, max_length: int, passages: Sequence[Passage]) -> None:
        self.source, self.max_length = source, max_length
        self._numbers: NDArray[np.uint32] | None = None
        self.passages = list(passages)
        self.truth, self.row_ids = source.truth, source.row_ids
        self._windows: list[Window] = [window for passage in passages for window in passage.windows]
        self._row = np.repeat(np.arange(len(self.passages)), [len(passage.windows) for passage in passages])
        self._lengths = np.array([len(window) for window in self._windows], dtype=np.int64)
        self._offsets = np.concatenate([[0], np.cumsum(self._lengths)])
        self.values = np.fromiter(chain.from_iterable(self._windows), np.uint32, count=int(self._offsets[-1]))
        types = chain.from_iterable(window.types for window in self._windows)
        self._types = np.fromiter(types, np.uint8, count=int(self._offsets[-1]))
        self.targets: NDArray[Any] = _targets(self._windows, self._row, self.truth)

    def __len__(self) -> int:
        return len(self._windows)

    def at(self, max_length: int) -> "WindowTokens":
        """Return the windows of another length, with the same numbers of tokens."""
        if max_length == self.max_length:
            return self
        found = self.source.at(max_length)
        return found if self._numbers is None else found.renumbered(self._numbers)

    def renumbered(self, numbers: NDArray[np.uint32]) -> "WindowTokens":
        """Return the same windows with each token id i replaced by ``numbers[i]`` in ``values`` and tensors."""
        made = copy(self)
        made.values = numbers[self.values]
        made._numbers = numbers if self._numbers is None else numbers[self._numbers]
        return made

    def lengths(self, max_length: int) -> Rows:
        """Return the number of tokens of each window, int64 [windows]; ``max_length`` must be that of the windows."""
        if max_length != self.max_length:
            raise ValueError(f"the windows have max_length {self.max_length}, but {max_length} was requested")
        return self._lengths

    def tensors(self, rows: Rows, max_length: int, pad_id: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return ids with the number of the text of each token, [k, t, 2], and mask [k, t], of some windows."""
        import torch

        self.lengths(max_length)
        places = [slice(self._offsets[row], self._offsets[row + 1]) for row in rows]
        ids, mask = collate([self.values[place].astype(np.int64) for place in places], pad_id)
        types, _ = collate([self._types[place].astype(np.int64) for place in places], 0)
        return torch.stack([ids, types], dim=-1), mask

    def encoded(self, max_length: int) -> list[Passage]:
        """All questions as an engine encodes them, [n]; ``max_length`` must be that of the windows."""
        self.lengths(max_length)
        return self.passages

    def summary(self, rows: Rows, outputs: Floats) -> Floats:
        """Best spans of some windows [k, width], from the logits of their tokens [k, t, 2]."""
        found = [
            best_spans(logits, self._windows[row].part, self.source.longest)
            for row, logits in zip(rows, outputs, strict=False)
        ]
        return np.stack(found) if found else np.zeros((0, WIDTH), np.float32)

    def merged(self, summaries: Floats) -> Floats:
        """Rows of all questions [n, width], from the summaries of all windows."""
        starts = np.searchsorted(self._row, np.arange(len(self.passages) + 1))
        return np.stack([merged(summaries[a:b]) for a, b in pairwise(starts)])


def _targets(windows: Sequence[Window], row_of: Rows, truth: NDArray[Any]) -> Rows:
    """Positions of the first true answer that its context has, in each window."""
    targets = np.full((len(windows), 2), NO_TARGET, dtype=np.int64)
    places = [_learned(true) for true in truth]
    for number, (window, row) in enumerate(zip(windows, row_of.tolist(), strict=True)):
        place = places[row]
        if place is None:
            continue
        start, end = place
        part = window.part
        inside = np.flatnonzero((part.ends > start) & (part.starts < end) & (part.starts < part.ends))
        is_whole = len(inside) and part.starts[inside[0]] <= start and part.ends[inside[-1]] >= end
        targets[number] = (part.first + inside[0], part.first + inside[-1]) if is_whole else (0, 0)
    return targets


def _learned(true: dict[str, Any]) -> tuple[int, int] | None:
    """Characters of the answer that is learned: the first that the context has, (0, 0) if there is none to find."""
    if not true["answers"]:
        return 0, 0
    found = zip(true["starts"], true["answers"], strict=True)
    return next(((start, start + len(text)) for start, text in found if start >= 0), None)


def encode_questions(record: DatasetRecord, split_name: str, tokenizer_folder: Path, folder: Path) -> QuestionTokens:
    """Tokenise a split of questions, or open the token file that another process has written.

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
    split, task = load_split(record, split_name, cache=folder), make_task(record.task_kind, record.facts)
    tokens = QuestionTokens(path, split.targets, split.row_ids, cast("AnsweringTask", task).longest_answer)

    def find() -> QuestionTokens | None:
        try:
            if not is_sealed(path):
                return None
            tokens.check()
        except (OSError, pa.ArrowException, KeyError, IndexError):
            # Missing, changed, truncated or written by another version: it is built again from the split.
            return None
        return tokens

    return create_once(path, find, lambda: _write(read_tokenizer(source), split, path)) or tokens


def _write(tokenizer: "Tokenizer", split: Split, path: Path) -> None:
    """Tokenise the questions and contexts of a split. Each distinct context is tokenised once."""
    reader = PassageTokenizer(tokenizer)
    questions, contexts = (split.inputs[role].to_pylist() for role in split.inputs)
    number: dict[str, int] = {}
    which = [number.setdefault(context, len(number)) for context in contexts]
    distinct, tokens = list(number), []
    for start in range(0, len(distinct), CHUNK_CONTEXTS):
        tokens += reader.contexts(distinct[start : start + CHUNK_CONTEXTS], MOST_WINDOW_TOKENS)
    ids = [np.asarray(found.ids, np.uint32) for found in tokens]
    batch = pa.record_batch(
        {
            "row_id": pa.array(split.row_ids),
            "question": _lists([np.asarray(found, np.uint32) for found in reader.questions(questions)]),
            "context": _lists([ids[one] for one in which]),
            "places": _lists([tokens[one].places.reshape(-1) for one in which]),
            "is_whole": pa.array([tokens[one].is_whole for one in which]),
        }
    )
    metadata = {"format": _FORMAT, "pair": reader.template.to_json()}
    write_batch(batch.replace_schema_metadata(metadata), path)
    seal(path)


def _lists(rows: list[NDArray[Any]]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    values = np.concatenate(rows) if rows else np.empty(0, np.uint32)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
