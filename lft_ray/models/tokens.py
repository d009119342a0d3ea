"""Tokenise texts for serving, with the same normalisation and truncation as the training data (`lft_ray.data.encode`).

In: a folder with ``tokenizer.json``. Out: lists of token ids. Never pads, never imports torch or transformers, never
tokenises a text far beyond what the model reads: for 1 MiB of Chinese that would take 0.9 s of CPU time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lft_ray.errors import BundleError
from lft_ray.models.convert import TOKENIZER
from lft_ray.models.segments import PairTemplate
from lft_ray.texts import Text, normal_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Pair", "TextTokenizer", "Truncated", "Unread", "open_tokenizer"]

_CHARS_PER_TOKEN = 6
"""Characters per token in the first look at a long text; English has about 4.5, Chinese 1 to 2."""
_GROWTH = 4
"""Factor of the next look, where the first gave too few tokens."""
_BLANKS = " \t\n\r"
"""Characters at which every tokenizer ends a word. Not `str.isspace`: BERT drops U+001C to U+001F within a word."""
_MARGIN = 16
"""Tokens beyond the limit that a cut inside a word must give, besides those of the word that was cut."""


class Truncated(list[Any]):
    """An encoded text that was longer than the limit and lost its end."""


class Unread(list[Any]):
    """An encoded text of which no token is the text's own: the model's answer does not depend on what it says."""


class Pair(list[Any]):
    """Two encoded texts as one sequence.

    Attributes:
        types: segment number of each token.
    """

    def __init__(self, ids: Sequence[int], types: Sequence[int]) -> None:
        super().__init__(ids)
        self.types = list(types)


class TruncatedPair(Pair, Truncated):
    """A pair that lost the end of one text or of both."""


class UnreadPair(Pair, Unread):
    """A pair of texts without a token of their own."""


def open_tokenizer(folder: Path) -> "Tokenizer":
    """Read ``tokenizer.json``, without the truncation and padding stored in it: they would override max_length.

    Raises:
        BundleError: the file is missing or damaged.
    """
    from tokenizers import Tokenizer

    path = folder / TOKENIZER
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises plain Exception for bad content
        raise BundleError(f"{path} cannot be read as a tokenizer: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class TextTokenizer:
    """A tokenizer read from ``tokenizer.json``. Thread-safe.

    Args:
        folder: folder with ``tokenizer.json``.

    Attributes:
        end_id: id of the special token appended to every text ([SEP] for BERT), or None (GPT-2).

    Raises:
        BundleError: the file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer = open_tokenizer(folder)
        probe = self._tokenizer.encode("a")
        self.end_id: int | None = probe.ids[-1] if probe.ids and probe.special_tokens_mask[-1] else None
        self._special = int(self._tokenizer.num_special_tokens_to_add(False))
        self._template: PairTemplate | None = None
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        # WordPiece makes a longer word one unknown token.
        self._longest_word = int(getattr(self._tokenizer.model, "max_input_chars_per_word", 0))
        self._longest_token = max(self._longest_word, _CHARS_PER_TOKEN, *map(len, vocabulary))

    def encode(self, texts: Sequence[Text], max_length: int) -> list[list[int]]:
        """Token ids of each text, special tokens included; at most ``max_length``, at least one.

        Two texts become one `Pair`, of which the longer text is truncated.

        A truncated text keeps its end token and is returned as `Truncated`; a text without tokens of its own as
        `Unread`, and without special tokens it becomes token 0. Of a text, at most ``max_length`` times the characters
        of the longest token are read: more matter only where words longer than any token or dropped characters stand
        before the limit, and such a text is `Truncated`.
        """
        pairs = [text for text in texts if isinstance(text, tuple)]
        if pairs:
            return self._encode_pairs(pairs, max_length)
        return self._encode_single([text for text in texts if isinstance(text, str)], max_length)

    def _encode_pairs(self, pairs: Sequence[tuple[str, str]], max_length: int) -> list[list[int]]:
        template = self._template = self._template or PairTemplate.of(self._tokenizer)
        # Neither text can keep more than this, so neither is read much further.
        most = max(1, max_length - len(template))
        contents = [self._content(text, most) for pair in pairs for text in pair]
        encoded: list[list[int]] = []
        for (first, first_ends), (second, second_ends) in zip(contents[::2], contents[1::2], strict=True):
            ids, types = template.joined(first, second, max_length)
            fits = first_ends and second_ends and len(first) + len(second) + len(template) <= max_length
            kind = Pair if fits else TruncatedPair
            if not first and not second:
                kind, ids, types = UnreadPair, ids or [0], types or [0]
            encoded.append(kind(ids, types))
        return encoded

    def _content(self, text: str, most: int) -> tuple[list[int], bool]:
        """Token ids of a text without special ones, and whether these are all of it: more than ``most`` need not be."""
        text, chars = normal_text(text), _CHARS_PER_TOKEN * most + 64
        limit = self._longest_token * most + 64
        while True:
            prefix, is_whole = (text, True) if len(text) <= chars else _cut(text, chars)
            ids: list[int] = self._tokenizer.encode(prefix, add_special_tokens=False).ids
            # A cut inside a word can change the tokens of that word, so those must lie beyond the limit.
            enough = most + (0 if is_whole else _MARGIN + self._longest_word)
            if len(text) <= chars or len(ids) > enough or chars > limit:
                return ids, len(text) <= chars
            chars *= _GROWTH

    def _encode_single(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        first = _CHARS_PER_TOKEN * max_length + 64
        short = [number for number, text in enumerate(texts) if len(text) <= first]
        if len(short) == len(texts):
            return [self._truncate(ids, max_length) for ids in self._ids(texts)]
        encoded: list[list[int]] = [[]] * len(texts)
        for number, ids in zip(short, self._ids([texts[number] for number in short]), strict=True):
            encoded[number] = self._truncate(ids, max_length)
        for number, text in enumerate(texts):
            if len(text) > first:
                encoded[number] = self._encode_long(text, max_length, first)
        return encoded

    def _encode_long(self, text: str, max_length: int, chars: int) -> list[int]:
        limit = self._longest_token * max_length + 64
        while chars < min(limit, len(text)):
            prefix, is_whole = _cut(text, chars)
            [ids] = self._ids([prefix])
            # A cut inside a word can change the tokens of that word, so those must lie beyond the limit.
            if len(ids) > max_length + (0 if is_whole else _MARGIN + self._longest_word) + self._special:
                return self._truncate(ids, max_length)
            chars *= _GROWTH
        if len(text) <= limit:
            return self._truncate(self._ids([text])[0], max_length)
        read = self._truncate(self._ids([_cut(text, limit)[0]])[0], max_length)
        return read if isinstance(read, Unread) else Truncated(read)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(map(normal_text, texts)))]

    def _truncate(self, ids: list[int], max_length: int) -> list[int]:
        if len(ids) <= self._special:
            return Unread(ids or [0])
        if len(ids) <= max_length:
            return ids
        return Truncated(ids[:max_length] if self.end_id is None else [*ids[: max_length - 1], self.end_id])


def _cut(text: str, chars: int) -> tuple[str, bool]:
    """The beginning of a text, up to the last blank among its second half; and whether it ends with a whole word."""
    end = max(text.rfind(blank, chars // 2, chars) for blank in _BLANKS)
    # The blanks before the cut belong to the next token in some tokenizers.
    words = text[: max(0, end)].rstrip(_BLANKS)
    return (words, True) if words else (text[:chars], False)
