"""Cut texts into words for TF-IDF. In: a text. Out: lower-cased words and punctuation. Never imports anything heavy.

The rules have a version, which a fitted model stores: a model is always asked with the words it was fitted on.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import accumulate, islice

from lft_ray.models.tokens import Truncated, Unread
from lft_ray.texts import Text, normal_text

__all__ = ["MAX_WORDS", "OVERLAP", "WORDS", "is_unspaced", "known_version", "split_input", "split_words"]

WORDS = 4
"""Version of the rules. 1 cut words at combining marks (vowel signs of Hindi, accents in NFD) and dropped emoji. 2
dropped punctuation: a question mark says much about a question, an exclamation mark about a mood. 3 read other widths
and forms of a letter (half-width kana, Arabic presentation forms, ligatures, mathematical bold) as other letters, took
iteration marks and the Chinese zero for signs between words, and a word of Javanese or Balinese for a sentence."""
MAX_WORDS = 2048
"""Words that TF-IDF reads of a text, punctuation included. A limit of its own, because a word costs a microsecond: at a
network's 32 to 128 tokens, long English texts lost 1.7 points of F1 and Chinese ones 5."""
_CHARS_PER_WORD = 8
"""Characters that are read per word of the limit: 2,048 words of English have 10,000, a word of base64 any number."""
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CJK_RARE = "\U00020000-\U000323af"
_CJK_4 = "\u3005-\u3007\u3021-\u3029\u3038-\u303c\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff"
"""Since version 4: iteration marks, the zero, numerals, Bopomofo and small kana."""
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f"
"""Thai, Lao, Burmese and Khmer: no spaces between words, and letters that carry marks."""
_UNSPACED_4 = "\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9df\uaa80-\uaadf"
"""Since version 4: Tai Le, New Tai Lue, Tai Tham, Balinese, Javanese and Tai Viet. Tibetan has a sign between
syllables, which are words enough."""
_STACKERS = "\u1039\u17d2"
"""Signs that put the next letter below the one before (Burmese, Khmer)."""
_STACKERS_4 = "\u1a60\u1b44\ua9c0"
_EMOJI = "\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001f1e5\U0001f200-\U0001faff"
_FLAG = "\U0001f1e6-\U0001f1ff"
_JOINED = "\u00ad\u034f\u200c\u200d\u2060\ufe00-\ufe0f\ufeff"
"""Characters inside a word that a writer does not see, soft hyphens among them. U+200B is not one: it ends a word."""
_JOINED_4 = "\u180b-\u180f\U000e0100-\U000e01ef"
"""Since version 4: selectors of a letter's shape (Mongolian, and variants of Chinese characters)."""
_SAME_LETTER = ("<wide>", "<narrow>", "<font>", "<initial>", "<medial>", "<final>", "<isolated>")
"""Kinds of compatibility characters that are a letter in another shape."""
_LIGATURES = range(0xFB00, 0xFB50)
_TAGS = "\U000e0001-\U000e007f"
SECOND = "\x1e"
"""First character of the words of a second text."""
OVERLAP = "\x1d"
"""First character of terms that say what two texts have in common; no word begins so."""
_STEPS = 8
"""Steps in which the share of common words is told."""
_OVERLAP_TIMES = 12
"""How often such a term is counted: once, it would vanish beside the words of a long text."""
_UNPRINTED = "\x00-\x1f\x7f-\x9f"
_WORD_1 = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
_WORD_3 = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s{_UNPRINTED}]{{1,3}}")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_NO_SPACES = re.compile(f"[{_CJK}{_CJK_RARE}{_UNSPACED}]")
_NO_SPACES_4 = re.compile(f"[{_CJK}{_CJK_RARE}{_CJK_4}{_UNSPACED}{_UNSPACED_4}]")
_UNSEEN = re.compile(f"[{_JOINED}]")
_UNSEEN_4 = re.compile(f"[{_JOINED}{_JOINED_4}]")
_NEW = re.compile(f"[{_JOINED}\uff01-\uff5e{_CJK_RARE}{_UNSPACED}{_EMOJI}{_FLAG}]")
_NEW_4 = re.compile(f"[{_JOINED}{_JOINED_4}{_CJK_RARE}{_CJK_4}{_UNSPACED}{_UNSPACED_4}{_EMOJI}{_FLAG}]")


@cache
def _folds() -> dict[int, str]:
    """Code point of a letter, digit or sign in another shape -> the usual one, as in NFKC.

    Not all of NFKC: an ellipsis or a fraction is a sign of its own, and circled numbers are no numbers.
    """
    folds = {}
    for code in (*range(0xAA, 0x3400), *range(0xF900, 0x10000), *range(0x1D400, 0x1F100)):
        kind = unicodedata.decomposition(chr(code)).partition(" ")[0]
        if kind in _SAME_LETTER or (kind == "<compat>" and code in _LIGATURES):
            folds[code] = unicodedata.normalize("NFKC", chr(code))
    return folds


@cache
def _word(version: int) -> re.Pattern[str]:
    """Pattern of a word: a single Chinese or Japanese character, a letter of an unspaced script with its marks, an
    emoji, a flag, or a run of letters, marks, digits and underscores; from version 3 on, or up to three signs.
    """
    punctuation = version > 2
    is_wider = version > 3
    cjk = _CJK + _CJK_RARE + (_CJK_4 if is_wider else "")
    unspaced, stackers = (_UNSPACED + _UNSPACED_4, _STACKERS + _STACKERS_4) if is_wider else (_UNSPACED, _STACKERS)
    # Compiled on the first text that needs it: the marks are looked up in 15 ms.
    marks = "".join(c for c in map(chr, range(0x300, 0x1F000)) if _is_mark(c))
    signs = ""
    if punctuation:
        hidden = "".join(c for c in map(chr, range(0xA0, 0x1F000)) if _is_hidden(c))
        signs = rf"|[^\w\s{marks}{_FLAG}{_EMOJI}{_UNPRINTED}{_TAGS}{hidden}]{{1,3}}"
    letter = rf"[^\W{cjk}{unspaced}]"
    base = rf"(?:(?=[{unspaced}])\w)"
    return re.compile(
        rf"[{cjk}][{marks}]*"
        rf"|{base}[{marks}]*(?:(?<=[{stackers}]){base}[{marks}]*)*"
        rf"|[{_FLAG}]{{1,2}}|[{_EMOJI}]"
        rf"|{letter}(?:{letter}|[{marks}])*{signs}"
    )


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Mc")


def _is_hidden(character: str) -> bool:
    """Whether this is a format character, or a mark that surrounds others."""
    return unicodedata.category(character) in ("Cf", "Me")


@lru_cache(maxsize=65_536)
def _is_new(character: str) -> bool:
    """Whether the patterns for most texts would read this character wrongly."""
    return _NEW.match(character) is not None or _is_mark(character) or _is_hidden(character)


@lru_cache(maxsize=65_536)
def _is_new_4(character: str) -> bool:
    """The same for version 4, of which one character is folded."""
    if ord(character) in _folds() or _NEW_4.match(character) is not None:
        return True
    return _is_mark(character) or _is_hidden(character)


def is_unspaced(word: str, *, version: int = WORDS) -> bool:
    """Whether a word is a letter of a script that has no spaces between words."""
    return (_NO_SPACES_4 if version > 3 else _NO_SPACES).match(word) is not None


def split_words(text: str, max_length: int, *, version: int = WORDS) -> list[str]:
    """Return the first ``max_length`` words of a text, lower-cased.

    As `Truncated` if there are more, as `Unread` if there is none. Words beyond the limit are not looked for: finding
    the 175,000 of 1 MiB takes 30 ms. From version 3 on, words also end after 8 x ``max_length`` characters of words.

    Args:
        text: the text as the user wrote it; it is normalised here.
        max_length: maximum number of words.
        version: version of the rules, see `WORDS`.
    """
    words = [match.group() for match in islice(_found(text, version), max_length + 1)]
    if not words:
        return Unread()
    limit = max_length
    if version > 2 and len(text) > _CHARS_PER_WORD * max_length:
        ends = accumulate(map(len, words[:max_length]))
        limit = max(1, sum(end <= _CHARS_PER_WORD * max_length for end in ends))
    return words if len(words) <= limit else Truncated(words[:limit])


def split_input(text: Text, max_length: int, *, version: int = WORDS) -> list[str]:
    """Return the words of a text; of two texts the words of both, those of the second marked, and what they share.

    A bag of words cannot see whether two texts belong together. So each word that both have is a term of its own, and
    so is the share of the distinct words of either text that the other one has, in steps of an eighth.

    Args:
        text: one text, or two.
        max_length: maximum number of words, of two texts half for each.
        version: version of the rules, see `WORDS`.
    """
    if isinstance(text, str):
        return split_words(text, max_length, version=version)
    first, second = (split_words(part, max(1, max_length // 2), version=version) for part in text)
    if not first and not second:
        return Unread()
    own, other = set(first), set(second)
    common = [word for word in dict.fromkeys(first) if word in other]
    shares = [f"{OVERLAP}{name}{_step(len(common), len(words))}" for name, words in (("a", own), ("b", other))]
    terms = [f"{OVERLAP}{word}" for word in common] + shares * _OVERLAP_TIMES
    words = [*first, *(f"{SECOND}{word}" for word in second), *terms]
    return Truncated(words) if isinstance(first, Truncated) or isinstance(second, Truncated) else words


def _step(part: int, whole: int) -> int:
    return round(_STEPS * part / whole) if whole else 0


def _found(text: str, version: int) -> Iterator[re.Match[str]]:
    if version == 1:
        return _WORD_1.finditer(text.lower())
    # Lower-casing can split a letter into a letter and a mark (Turkish dotted capital I).
    plain = normal_text(normal_text(text).lower())
    if plain.isascii() or not any(map(_is_new_4 if version > 3 else _is_new, set(plain))):
        # 10 times as fast, with the same result.
        return (_WORD_3 if version > 2 else _WORD_1).finditer(plain)
    folds, unseen = (_folds(), _UNSEEN_4) if version > 3 else (_FULL_WIDTH, _UNSEEN)
    return _word(version).finditer(normal_text(unseen.sub("", plain.translate(folds)).lower()))


def known_version(version: object) -> int:
    """Return the version that a stored model names.

    Raises:
        ValueError: this release does not have its rules.
    """
    if not isinstance(version, int) or not 1 <= version <= WORDS:
        raise ValueError(f"words of version {version!r}, this release knows 1 to {WORDS}")
    return version
