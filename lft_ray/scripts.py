"""Scripts that are written without spaces, and what a text in them counts. In: texts. Out: numbers. Never cuts a text.

Whatever counts words by blanks takes a Chinese article for one word. Here a letter of such a script is a word, which is
also about a token of any tokenizer.
"""

import re

__all__ = ["UNSPACED", "UNSPACED_LETTER", "count_words", "is_unspaced", "rough_tokens"]

UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u3005-\u3007"
    "\u3021-\u303c\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua980-\ua9ff"
    "\uaa60-\uaadf\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
"""Inside of a character class: Thai, Lao, Tibetan, Burmese, Khmer, the Tai scripts, Balinese, Javanese, Japanese and
Chinese, with half-width kana, iteration marks and Bopomofo."""
TOKENS_PER_WORD = 1.4
"""An English word has about 1.3 word pieces; rounded up, since overestimating the cost is the safe error."""
LATIN_PER_TOKEN = 4.0
"""Characters of a token in long words, addresses and numbers; English prose has 4.5."""
OTHERS_PER_TOKEN = 2.0
"""The same in Cyrillic, Arabic, Devanagari, Hangul and all others: 2 to 3 in multilingual tokenizers."""
SPECIAL_TOKENS = 2
"""Special tokens per text, such as [CLS] and [SEP]."""
UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")
"""A character of such a script."""
_LETTERS = re.compile(rf"(?=[{UNSPACED}])\w")
_WORD = re.compile(r"\w")
_OTHERS = re.compile("[\u0370-\u1dff\u2c00-\u2dff\ua000-\ud7ff\ufb13-\ufdff\ufe70-\ufeff\U00010000-\U0001efff]")
"""Letters and marks of scripts with spaces that are not Latin."""


def is_unspaced(character: str) -> bool:
    """Whether a character belongs to a script that is written without spaces."""
    return UNSPACED_LETTER.match(character) is not None


def count_words(text: str) -> int:
    """Words of a text: what blanks separate, and each letter of a script without spaces.

    Marks of letters are not counted, nor, in a text that is not ASCII, punctuation between blanks.
    """
    if text.isascii():
        return len(text.split())
    spaced, unspaced = UNSPACED_LETTER.subn(" ", text)
    letters = len(_LETTERS.findall(text)) if unspaced else 0
    return letters + sum(_WORD.search(word) is not None for word in spaced.split())


def rough_tokens(text: str) -> float:
    """Tokens of a text as a guess without a tokenizer: by words, by characters of long ones, and by script."""
    if text.isascii():
        words = text.split()
        return max(len(words) * TOKENS_PER_WORD, sum(map(len, words)) / LATIN_PER_TOKEN) + SPECIAL_TOKENS
    spaced, unspaced = UNSPACED_LETTER.subn(" ", text)
    words = spaced.split()
    others = len(_OTHERS.findall(spaced))
    characters = (sum(map(len, words)) - others) / LATIN_PER_TOKEN + others / OTHERS_PER_TOKEN
    return max(len(words) * TOKENS_PER_WORD, characters) + unspaced + SPECIAL_TOKENS
