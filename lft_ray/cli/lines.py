"""Lines of a file or of stdin as texts. In: a path. Out: one text a line, or an error that says what is wrong."""

import sys
from pathlib import Path

from lft_ray.errors import InputError
from lft_ray.system.paths import resolve
from lft_ray.texts import is_blank

__all__ = ["read_lines"]


def read_lines(file: str | None, encoding: str = "utf-8") -> list[str]:
    """Read texts from a file or stdin, one per line; a blank line is a blank text.

    Args:
        file: path of a file or a pipe; None or ``-``: stdin.
        encoding: encoding of the file or of stdin; a byte order mark is dropped.

    Raises:
        InputError: the file does not exist or is not text in the encoding, stdin is a terminal, or there is no text.
        ConfigError: the encoding is unknown.
    """
    from lft_ray.data.readers import decoding

    path = None if file is None or (file == "-" and not Path(file).exists()) else resolve(file)
    if path is not None and (path.is_dir() or not path.exists()):
        raise InputError(f"file not found: {file}" if not path.is_dir() else f"{file} is a folder", fix="name a file")
    if path is None and sys.stdin.isatty():
        raise InputError("no text given", fix="pass texts as arguments, with --input FILE, or through a pipe")
    source = None if path is None else str(path)
    lines = decoding.read_lines(source, sys.stdin.buffer if path is None else None, encoding=encoding)
    if all(map(is_blank, lines)):
        raise InputError(f"no text given: {file or 'stdin'} is empty", fix="put one text on each line")
    return lines
