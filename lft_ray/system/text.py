"""Show text from outside on a terminal: control, bidirectional and unencodable characters become visible escapes.

In: any string. Out: a string without characters that move the cursor, change the terminal or reorder a line. Never
changes a printable character, so that paths and labels can be copied.
"""

import json
import re
import shlex
from typing import Any

__all__ = ["json_text", "printable", "quoted"]

# C0 and C1 controls, bidirectional controls, line and paragraph separators, byte order mark, lone surrogates.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, *, keep: str = "") -> str:
    r"""Replace hidden characters by escapes such as ``\x1b`` and ``\u202e``.

    Args:
        text: text from outside.
        keep: characters to leave as they are, such as a newline in a message of several lines.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def quoted(word: str) -> str:
    """Return a word of a shell command as it is typed there, quoted where needed; hidden characters as ``$'...'``."""
    if _HIDDEN.search(word):
        escaped = printable(word.replace("\\", "\\\\").replace("'", "\\'"))
        return f"$'{escaped}'"
    return shlex.quote(word)


def json_text(value: Any, *, indent: int | None = 1, ascii_only: bool = False) -> str:
    """Return JSON without hidden characters outside its own layout: they are valid JSON as escapes.

    Args:
        value: plain values.
        indent: spaces per level; None: one line.
        ascii_only: escape everything else than ASCII too.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    return _HIDDEN.sub(lambda found: "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def _escape(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
