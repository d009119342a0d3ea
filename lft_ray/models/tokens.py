"""Tokenise texts for serving, with the same normalisation and truncation as the training data (`lft_ray.data.encode`).

In: a folder with ``tokenizer.json``. Out: lists of token ids. Never pads, never imports torch or transformers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lft_ray.errors import BundleError
from lft_ray.models.convert import TOKENIZER
from lft_ray.texts import normal_text

__all__ = ["TextTokenizer", "Truncated"]


class Truncated(list[Any]):
    """An encoded text that was longer than the limit and lost its end."""


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
        from tokenizers import Tokenizer

        path = folder / TOKENIZER
        try:
            self._tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises plain Exception for bad content
            raise BundleError(f"{path} cannot be read as a tokenizer: {error}") from error
        # Truncation and padding stored in the file would override max_length.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        probe = self._tokenizer.encode("a")
        self.end_id: int | None = probe.ids[-1] if probe.ids and probe.special_tokens_mask[-1] else None

    def encode(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        """Token ids of each text, special tokens included; at most ``max_length``, at least one.

        A truncated text keeps its end token and is returned as `Truncated`; a text without tokens becomes token 0.
        """
        encodings = self._tokenizer.encode_batch_fast(list(map(normal_text, texts)))
        return [self._truncate(encoding.ids, max_length) for encoding in encodings]

    def _truncate(self, ids: list[int], max_length: int) -> list[int]:
        if len(ids) <= max_length:
            return ids or [0]
        return Truncated(ids[:max_length] if self.end_id is None else [*ids[: max_length - 1], self.end_id])
