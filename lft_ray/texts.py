"""Unicode rules that every reader of texts and labels shares. In: strings. Out: strings. Never splits or counts words.

A text is normalised by `normal_text` wherever a model reads it, in training and in serving, so that two spellings of
one text give the same tokens. Label names are compared by `canonical` and `skeleton`.
"""

import re
import unicodedata
from difflib import SequenceMatcher

__all__ = [
    "Text",
    "canonical",
    "differences",
    "invisible_key",
    "is_blank",
    "normal_text",
    "one_line",
    "repaired",
    "same_length",
    "shown",
    "skeleton",
    "whole",
]

Text = str | tuple[str, str]
"""One input of a model: a text, or two of them."""

_TAGS = range(0xE0020, 0xE0080)
"""Tag characters tell the flags of England, Scotland and Wales apart: they are not ignorable."""
_IGNORABLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Characters without a glyph that are not in the category of format characters: fillers and variation selectors."""
_LOOKALIKES = str.maketrans(
    "\u0410\u0412\u0415\u0417\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0405\u0408\u050c\u051a"
    "\u051c\u04ae\u0430\u0435\u043e\u0440\u0441\u0443\u0445"
    "\u0456\u0455\u0458\u04bb\u0501\u051b\u051d\u04af\u04bd"  # Cyrillic
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f"
    "\u03a1\u03a4\u03a5\u03a7\u03bf\u03bd\u03c1\u03c5\u03b9\u03f2"  # Greek
    "\u0585\u0578\u057d\u0570\u0581\u0584",  # Armenian
    "ABE3KMHOPCTYXISJGQWYaeopcyxisjhdqwye" + "ABEZHIKMNOPTYXovpuic" + "onuhgp",
)
"""Cyrillic, Greek and Armenian letters that look like a Latin letter in common typefaces."""


_HALVES = re.compile("[\ud800-\udfff]")
_FILLERS = frozenset("\u115f\u1160\u2065\u3164\uffa0")
"""Hangul fillers, which are letters by their category and have no glyph, and an unassigned code point among marks."""


def repaired(text: str) -> str:
    """Return the text without NUL characters, and with U+FFFD for half of a surrogate pair (UTF-8 has none)."""
    if "\0" in text:
        text = text.replace("\0", "")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def normal_text(text: str) -> str:
    """Return the text as models read it: `repaired`, in NFC (a letter and its accent are one character)."""
    text = repaired(text)
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def same_length(text: str) -> str:
    """Return the text with a blank for NUL and U+FFFD for half of a surrogate pair: each character keeps its place.

    Where places in a text matter, it is read as it is and not in NFC, which may join two characters to one.
    """
    if "\0" in text:
        text = text.replace("\0", " ")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = _HALVES.sub("\ufffd", text)
    return text


def whole(text: Text) -> str:
    """Return an input as one string: two texts with a blank between them."""
    return text if isinstance(text, str) else " ".join(text)


def is_blank(text: str) -> bool:
    """Whether nothing of the text is visible: it has only spaces, control and format characters."""
    if text[:1].isalnum() and text[0] not in _FILLERS:
        return False  # nearly every text
    return not text or text.isspace() or all(map(_is_invisible, text))


def _is_invisible(character: str) -> bool:
    if character.isspace() or character in _FILLERS or _IGNORABLE.match(character):
        return True
    return unicodedata.category(character) in ("Cf", "Cc") and ord(character) not in _TAGS


def _visible(text: str) -> str:
    """Remove characters without a glyph."""
    text = _IGNORABLE.sub("", text)
    return "".join(c for c in text if unicodedata.category(c) != "Cf" or ord(c) in _TAGS)


def invisible_key(name: str) -> str:
    """Key that is equal for names which look the same in one typeface: NFC, no format characters, single spaces."""
    if name.isascii():
        return " ".join(name.split())
    return " ".join(unicodedata.normalize("NFC", _visible(unicodedata.normalize("NFC", name))).split())


def canonical(name: str) -> str:
    """Key for comparing names: NFKC without format characters, case-folded, with single spaces."""
    if name.isascii():
        return " ".join(name.casefold().split())
    # Case folding can undo the composition (ΐ), hence NFKC twice.
    folded = unicodedata.normalize("NFKC", _visible(unicodedata.normalize("NFKC", name))).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def skeleton(name: str) -> str:
    """Key that is equal for names which look alike: `canonical` with Latin letters for their look-alikes."""
    return canonical(unicodedata.normalize("NFKC", name).translate(_LOOKALIKES))


def shown(name: str, length: int = 60) -> str:
    """Return a name in quotes, with control and format characters escaped, and cut to a length in characters."""
    return repr(name if len(name) <= length else name[: length - 3] + "...")


def one_line(text: str) -> str:
    """Return a text with control and format characters escaped: it breaks no line and does not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def differences(name: str, other: str) -> str:
    """Name the code points in which two names differ, such as ``U+0440 CYRILLIC SMALL LETTER ER for U+0070 ...``."""
    for kind, a, b, c, d in SequenceMatcher(None, name, other, autojunk=False).get_opcodes():
        if kind == "delete":
            return f"{_points(name[a:b])} in the first is not in the second"
        if kind == "insert":
            return f"{_points(other[c:d])} in the second is not in the first"
        if kind == "replace":
            return f"{_points(name[a:b])} in the first, {_points(other[c:d])} in the second"
    return "no difference"


def _points(part: str, most: int = 3) -> str:
    named = [f"U+{ord(c):04X} {unicodedata.name(c, '')}".rstrip() for c in part[:most]]
    return " + ".join(named) + (" ..." if len(part) > most else "")
