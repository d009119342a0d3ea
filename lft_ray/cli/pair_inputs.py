"""Inputs of two texts for a command that asks an endpoint. In: arguments, a table, or lines with a tab. Out: tuples.

These are pairs of texts, or questions with their contexts; `Info.answers` of the endpoint says which.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lft_ray.cli.lines import read_lines
from lft_ray.errors import InputError
from lft_ray.texts import Text, is_blank, whole
from lft_ray.wire import PAIR_TEXTS, PredictionKind

if TYPE_CHECKING:
    from lft_ray.tasks.columns import Column

__all__ = ["TABLES", "is_table", "paired", "read_pairs", "read_question"]

TABLES = frozenset({".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".pq"})
"""Suffixes of files with columns."""


@dataclass(frozen=True)
class _Words:
    """How two texts of one input are spoken of."""

    reads: str
    pair: str
    sides: str
    roles: tuple[str, str]
    fix: str

    @property
    def options(self) -> str:
        """The options that name their columns."""
        return " and ".join(f"--{role.replace('_', '-')}" for role in self.roles)


_WORDS: Mapping[PredictionKind, _Words] = {
    "labels": _Words(
        "reads pairs of texts",
        "pair",
        "two texts of a pair",
        ("text_a", "text_b"),
        "lft predict TARGET 'first text' 'second text', or --input FILE with the columns text_a and text_b",
    ),
    "spans": _Words(
        "answers questions about a context",
        "question",
        "question and its context",
        ("question", "context"),
        "lft predict TARGET --question '...' --context '...', or --input FILE with the columns question and context",
    ),
}


def is_table(file: str) -> bool:
    """Whether a file has columns by its name, also where it is packed."""
    return bool({suffix.lower() for suffix in Path(file).suffixes} & TABLES)


def read_pairs(
    given: Sequence[str] | None,
    file: str | None,
    encoding: str,
    names: Mapping[str, str | None],
    kind: PredictionKind = "labels",
) -> list[Text]:
    """Return the pairs to ask for; a blank line or row is a pair of blank texts.

    Args:
        given: texts on the command line, two by two.
        file: path of a table, or of lines with a tab between two texts; None or ``-``: such lines of stdin.
        encoding: encoding of the file or of stdin.
        names: role -> name of its column in a table; None: try the usual names.
        kind: whether these are pairs of texts or questions with their contexts.

    Raises:
        InputError: there is no pair, or a text without its second.
        DataError: the table cannot be read, or lacks a column.
    """
    words = _WORDS[kind]
    if given:
        return list(paired(given, kind))
    if file is not None and is_table(file):
        from lft_ray.data.readers.read import read_inputs

        columns = read_inputs(file, _columns(kind), names=names, encoding=encoding)
        pairs: list[Text] = list(zip(*(columns[role] for role in words.roles), strict=True))
    else:
        if any(name is not None for name in names.values()):
            raise InputError(f"{words.options} need --input with a table", fix="--input FILE.csv")
        lines = read_lines(file, encoding)
        pairs = [_split(line, number, file, words) for number, line in enumerate(lines, 1)]
    if all(is_blank(whole(pair)) for pair in pairs):
        raise InputError(f"no {words.pair} given: {file or 'stdin'} is empty", fix=words.fix)
    return pairs


def read_question(question: str | None, context: str | None, encoding: str) -> tuple[str, str]:
    """Return the one question of the command line; without ``--context``, or with ``-``, stdin is its context.

    Raises:
        InputError: the question is missing, or there is no context.
    """
    if question is None:
        raise InputError("--context needs --question", fix=_WORDS["spans"].fix)
    if context is None and sys.stdin.isatty():
        raise InputError("--question needs --context", fix=_WORDS["spans"].fix)
    if context is None or context == "-":
        context = "\n".join(read_lines(None, encoding))
    for text, name in ((question, "question"), (context, "context")):
        if is_blank(text):
            raise InputError(f"the {name} is blank", fix=_WORDS["spans"].fix)
    return question, context


def _columns(kind: PredictionKind) -> "tuple[Column, ...]":
    from lft_ray.tasks.pairs import Pairs
    from lft_ray.tasks.questions.task import Questions

    return {"labels": Pairs.columns, "spans": Questions.columns}[kind]


def paired(texts: Sequence[str], kind: PredictionKind = "labels") -> list[tuple[str, str]]:
    """Return texts two by two.

    Raises:
        InputError: their number is odd.
    """
    words = _WORDS[kind]
    if len(texts) % PAIR_TEXTS:
        told = "1 text" if len(texts) == 1 else f"{len(texts)} texts"
        raise InputError(f"this model {words.reads}, got {told}", fix=words.fix)
    return list(zip(texts[::2], texts[1::2], strict=True))


def _split(line: str, number: int, file: str | None, words: _Words) -> tuple[str, str]:
    parts = line.split("\t")
    if is_blank(line):
        return "", ""
    if len(parts) != PAIR_TEXTS:
        told = "no tab" if len(parts) == 1 else f"{len(parts) - 1} tabs"
        message = f"{file or 'stdin'}:{number}: the line has {told}, expected one between the {words.sides}"
        raise InputError(message, fix=f"or --input FILE.csv with the columns {' and '.join(words.roles)}")
    return parts[0], parts[1]
