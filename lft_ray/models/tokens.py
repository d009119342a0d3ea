"""Text to token ids for serving, with the length policy of the training data (`lft_ray.data.encode`).

In: a folder with ``tokenizer.json``. Out: id lists. Never pads, never imports torch or transformers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lft_ray.errors import BundleError
from lft_ray.models.convert import TOKENIZER

__all__ = ["Cut", "TextTokenizer"]


class Cut(list[Any]):
    """An encoded text whose end was cut off."""


class TextTokenizer:
    """A tokenizer read from ``tokenizer.json``. May be used from several threads.

    Args:
        folder: holds ``tokenizer.json``.

    Attributes:
        end_id: the special token after every text ([SEP] for BERT), or None (GPT-2).

    Raises:
        BundleError: the file is absent or damaged.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        path = folder / TOKENIZER
        try:
            self._tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises plain Exception for bad content
            raise BundleError(f"{path} cannot be read as a tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        probe = self._tokenizer.encode("a")
        self.end_id: int | None = probe.ids[-1] if probe.ids and probe.special_tokens_mask[-1] else None

    def encode(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        """Token ids of each text, special tokens included; at most ``max_length``, at least one.

        A text that is cut keeps its end token and comes as `Cut`; a text without any token becomes token 0.
        """
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return [self._cut(encoding.ids, max_length) for encoding in encodings]

    def _cut(self, ids: list[int], max_length: int) -> list[int]:
        if len(ids) <= max_length:
            return ids or [0]
        return Cut(ids[:max_length] if self.end_id is None else [*ids[: max_length - 1], self.end_id])
