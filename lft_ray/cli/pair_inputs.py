"""Pairs of texts for a command that asks an endpoint. In: arguments, a table, or lines with a tab. Out: the pairs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lft_ray.cli.lines import read_lines
from lft_ray.errors import InputError
from lft_ray.texts import Text, is_blank, whole
from lft_ray.wire import PAIR_TEXTS

__all__ = ["TABLES", "is_table", "paired", "read_pairs"]

TABLES = frozenset({".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".pq"})
"""Suffixes of files with columns."""
_FIX = "lft predict TARGET 'first text' 'second text', or --input FILE with the columns text_a and text_b"


def is_table(file: str) -> bool:
    """Whether a file has columns by its name, also where it is packed."""
    return bool({suffix.lower() for suffix in Path(file).suffixes} & TABLES)


def read_pairs(
    given: Sequence[str] | None, file: str | None, encoding: str, names: Mapping[str, str | None]
) -> list[Text]:
    """Return the pairs to ask for; a blank line or row is a pair of blank texts.

    Args:
        given: texts on the command line, two by two.
        file: path of a table, or of lines with a tab between two texts; None or ``-``: such lines of stdin.
        encoding: encoding of the file or of stdin.
        names: role -> name of its column in a table; None: try the usual names.

    Raises:
        InputError: there is no pair, or a text without its second.
        DataError: the table cannot be read, or lacks a column.
    """
    if given:
        return list(paired(given))
    if file is not None and is_table(file):
        from lft_ray.data.readers.read import read_inputs
        from lft_ray.tasks.pairs import Pairs

        columns = read_inputs(file, Pairs.columns, names=names, encoding=encoding)
        pairs: list[Text] = list(zip(columns["text_a"], columns["text_b"], strict=True))
    else:
        if any(name is not None for name in names.values()):
            raise InputError("--text-a and --text-b need --input with a table", fix="--input FILE.csv")
        lines = read_lines(file, encoding)
        pairs = [_split(line, number, file) for number, line in enumerate(lines, 1)]
    if all(is_blank(whole(pair)) for pair in pairs):
        raise InputError(f"no pair given: {file or 'stdin'} is empty", fix=_FIX)
    return pairs


def paired(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return texts two by two.

    Raises:
        InputError: their number is odd.
    """
    if len(texts) % PAIR_TEXTS:
        told = "1 text" if len(texts) == 1 else f"{len(texts)} texts"
        raise InputError(f"this model reads pairs of texts, got {told}", fix=_FIX)
    return list(zip(texts[::2], texts[1::2], strict=True))


def _split(line: str, number: int, file: str | None) -> tuple[str, str]:
    parts = line.split("\t")
    if is_blank(line):
        return "", ""
    if len(parts) != PAIR_TEXTS:
        told = "no tab" if len(parts) == 1 else f"{len(parts) - 1} tabs"
        message = f"{file or 'stdin'}:{number}: the line has {told}, expected one between the two texts of a pair"
        raise InputError(message, fix="or --input FILE.csv with the columns text_a and text_b")
    return parts[0], parts[1]
