"""Tell the encoding of bytes that are not UTF-8. In: bytes. Out: an encoding in which they look like text, or none.

Decoding without an error proves little: cp1252 reads nearly any bytes, and gb18030 most. So the characters above ASCII
are judged: letters of ONE language's alphabet in Latin and other alphabets, in the case that words have; common
characters in Chinese, Japanese and Korean. Never used to read data unasked: `lft init` writes down what it found.
"""

# ruff: noqa: RUF001 - letters that look like Latin ones are meant

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["LEAST_LIKENESS", "high_lines", "likely_encodings", "likeness"]

LEAST_LIKENESS = 0.85
"""Share of the characters above ASCII that must look like text. Chinese has 3% rare characters, and names have some
letters of other languages; the same bytes in a wrong encoding give under 60%, and German read as Polish under 80%."""
SAMPLE_BYTES = 200_000
"""Bytes of lines with characters above ASCII that are judged."""
_SYMBOLS = set("‘’‚“”„–—…€£¥¢°©®™«»·§´¿¡•½¼¾²³ºª×±µ\xa0")
"""Characters of text in any language, where they do not stand between two letters."""
_INSIDE = set("’‘·\xad´")
"""Those that may stand between letters."""


@dataclass(frozen=True, slots=True)
class _Latin:
    """One-byte encoding: ``alphabets`` are the letters above ASCII of each language that is written in it."""

    alphabets: tuple[str, ...]

    def likeness(self, text: str) -> float:
        high = fine = 0
        good = dict.fromkeys(self.alphabets, 0)
        padded = f" {text} "
        for before, character, after in zip(padded, padded[1:], padded[2:], strict=False):
            if character < "\x80":
                continue
            high += 1
            if character in _SYMBOLS:
                fine += character in _INSIDE or not (before.isalpha() and after.isalpha())
                continue
            lower = character.lower()
            # A capital after a small letter is what a wrong Cyrillic encoding gives.
            cased = character == lower or not before.islower()
            for alphabet in good:
                good[alphabet] += cased and lower in alphabet
        return (fine + max(good.values())) / high if high else 0.0


@dataclass(frozen=True, slots=True)
class _EastAsian:
    """Encoding of two bytes a character: ``is_common`` judges one character."""

    is_common: Callable[[str], bool]
    needs: Callable[[str], bool] | None = None
    """What a fifth of the characters at least must be: kana in Japanese."""

    def likeness(self, text: str) -> float:
        high = [character for character in text if character >= "\x80"]
        if not high or (self.needs is not None and sum(map(self.needs, high)) < len(high) / 5):
            return 0.0
        return sum(map(self.is_common, high)) / len(high)


def _first_byte(character: str, encoding: str) -> int:
    try:
        encoded = character.encode(encoding)
    except UnicodeEncodeError:
        return 0
    return encoded[0] if len(encoded) == 2 else 0


def _is_kana(character: str) -> bool:
    return "\u3040" <= character <= "\u30ff"


def _is_hangul(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3" or "\u3000" <= character <= "\u303f" or "\uff00" <= character <= "\uff5e"


def _is_japanese(character: str) -> bool:
    # Level 1 of JIS X 0208, 2,965 kanji in order of reading, and its punctuation, kana and full-width letters.
    return 0x81 <= _first_byte(character, "shift_jis") <= 0x98


def _is_simplified(character: str) -> bool:
    # Level 1 of GB 2312 has the 3,755 common characters; punctuation and full-width letters stand before it.
    first = _first_byte(character, "gb2312")
    return 0xB0 <= first <= 0xD7 or 0xA1 <= first <= 0xA3


def _is_traditional(character: str) -> bool:
    return 0xA1 <= _first_byte(character, "big5") <= 0xC6  # punctuation and the 5,401 common characters


def _span(first: str, last: str) -> str:
    return "".join(map(chr, range(ord(first), ord(last) + 1)))


_CYRILLIC = (_span("а", "я") + "ё", _span("а", "я") + "іїєґ", _span("а", "я") + "ўі", _span("а", "я") + "ђјљњћџ")
_KINDS: dict[str, _Latin | _EastAsian] = {
    "shift_jis": _EastAsian(_is_japanese, _is_kana),
    "cp932": _EastAsian(_is_japanese, _is_kana),
    "euc_jp": _EastAsian(_is_japanese, _is_kana),
    "euc_kr": _EastAsian(_is_hangul),
    "cp949": _EastAsian(_is_hangul),
    "gb18030": _EastAsian(_is_simplified),
    "big5": _EastAsian(_is_traditional),
    "cp1252": _Latin(
        (
            "àâæçéèêëîïôœùûüÿ",
            "äöüßé",
            "áéíóúüñçàèòï",
            "ãõáâàçéêíóôúü",
            "àèéìíîòóùú",
            "åäöæøéü",
            "áéëèïíóöúü",
            "áðéíóúýþæö",
        )
    ),
    "cp1250": _Latin(("ąćęłńóśźż", "áäčďéěíĺľňóôŕřšťúůýžö", "áéíóöőúüű", "ăâîşţ", "čćđšž")),
    "cp1254": _Latin(("çğıöşüâîûi̇",)),
    "cp1257": _Latin(("ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž")),
    # Hebrew is small letters in Cyrillic encodings; Russian has letters that Hebrew lacks.
    "cp1255": _Latin((_span("א", "ת") + _span("\u05b0", "\u05c3"),)),
    "cp1251": _Latin(_CYRILLIC),
    "koi8_r": _Latin(_CYRILLIC),
    "cp1253": _Latin((_span("ά", "ώ") + "ΐ",)),
    "cp1256": _Latin((_span("ء", "ي") + _span("\u064b", "\u0652") + "،؟؛پچژگ\u200c\u200d",)),
    "cp874": _Latin((_span("ก", "ฺ") + _span("เ", "๙"),)),
}
"""Encoding -> how its text is judged; the earlier wins among equals. latin-1 reads any bytes and has no letter that
cp1252 lacks, so it is none of them."""


def likeness(data: bytes, encoding: str) -> float:
    """Return the share of the characters above ASCII that look like text in an encoding; 0 where it cannot decode."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    if any(unicodedata.category(character) in {"Cc", "Co", "Cn"} for character in set(text) - set("\t\r\n\f")):
        return 0.0
    return _KINDS[encoding].likeness(text)


def likely_encodings(data: bytes) -> list[str]:
    """Return the encodings in which bytes look like text, the likeliest first; the bytes should end at a line end."""
    rated = [(likeness(data, encoding), encoding) for encoding in _KINDS]
    # Stable: equals stay in the order of the table.
    return [name for rate, name in sorted(rated, key=lambda pair: -pair[0]) if rate >= LEAST_LIKENESS]


def high_lines(lines: Iterable[bytes]) -> bytes:
    """Join the lines that hold bytes above ASCII, up to `SAMPLE_BYTES`."""
    chosen, size = [], 0
    for line in lines:
        if not line.isascii():
            chosen.append(line)
            size += len(line)
            if size >= SAMPLE_BYTES:
                break
    return b"".join(chosen)
