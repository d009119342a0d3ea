"""Check that the tokenizer and the weights of a base belong together, when the base is found.

In: a folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``. Out: nothing, or a named error. Reads
the header of the weights only. Without this check a token beyond the embedding table ends trials after they were paid
for, and fails requests in production.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lft_ray.errors import ModelError
from lft_ray.models.convert import SAFE_WEIGHTS, TOKENIZER

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["check_base_files"]

_EMBEDDINGS = (
    "word_embeddings.weight",
    "wte.weight",
    "embed_tokens.weight",
    "tok_embeddings.weight",
    "embed_in.weight",
    "token_embedding.weight",
)
"""Ends of the names under which networks store the embedding of token ids."""
_PROBES = ("a", "\u2603 \U0001f600 \u9fa5 \u0e01 \u0416", "\U0010fffd" * 3)
"""Texts with characters that few vocabularies hold: a tokenizer without its unknown token fails on them."""
_AGAIN = "download the base model again, or choose another"


def check_base_files(folder: Path, *, vocab: int | None, pad_id: int) -> None:
    """Check the files of a base against each other.

    Args:
        folder: folder of the base.
        vocab: ``vocab_size`` of its config; None: not given.
        pad_id: token id that texts are padded with.

    Raises:
        ModelError: a file is damaged, the tokenizer has ids beyond the embedding table, or it fails on unknown words.
    """
    stamps = tuple((folder / name).stat().st_mtime_ns for name in (SAFE_WEIGHTS, TOKENIZER))
    _check_once(folder, stamps, vocab, pad_id)


@lru_cache(maxsize=16)
def _check_once(folder: Path, stamps: tuple[int, ...], vocab: int | None, pad_id: int) -> None:
    """The check, once per process and state of the files: parsing a large vocabulary takes half a second."""
    rows = _embedding_rows(folder)
    if rows is not None and vocab is not None and rows != vocab:
        raise ModelError(
            f"{folder}: config.json says vocab_size {vocab}, and the embedding table has {rows} rows", fix=_AGAIN
        )
    limit = vocab if rows is None else rows
    if limit is None:
        return
    if not 0 <= pad_id < limit:
        raise ModelError(
            f"{folder}: the padding id {pad_id} is outside the embedding table of {limit} rows",
            fix="set pad_token_id in config.json to the id of the padding token",
        )
    tokenizer = _read_tokenizer(folder / TOKENIZER)
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    token = max(vocabulary, key=vocabulary.__getitem__, default="")
    if token and vocabulary[token] >= limit:
        beyond = sum(number >= limit for number in vocabulary.values())
        raise ModelError(
            f"{folder}: the tokenizer has {beyond} {'id' if beyond == 1 else 'ids'} beyond the embedding table of "
            f"{limit} rows: {token!r} is {vocabulary[token]}, at most {limit - 1} is possible",
            fix="resize the embeddings with transformers (model.resize_token_embeddings(len(tokenizer))), or remove "
            "the added tokens from tokenizer.json",
        )
    _probe(tokenizer, folder / TOKENIZER)


def _embedding_rows(folder: Path) -> int | None:
    """Rows of the embedding table; None where it has an unknown name."""
    from safetensors import SafetensorError, safe_open

    path = folder / SAFE_WEIGHTS
    try:
        with safe_open(path, framework="numpy") as weights:
            found = [name for name in weights.keys() if name.endswith(_EMBEDDINGS)]  # noqa: SIM118
            # The shortest name is that of the network itself, not of a part inside it.
            return int(weights.get_slice(min(found, key=len)).get_shape()[0]) if found else None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}", fix="download the base model again") from error


def _read_tokenizer(path: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain Exception for damaged content
        raise ModelError(
            f"{path} cannot be read as a tokenizer: {error}", fix="download the base model again"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _probe(tokenizer: "Tokenizer", path: Path) -> None:
    for text in _PROBES:
        try:
            tokenizer.encode(text)
        except Exception as error:  # the library raises plain Exception
            raise ModelError(
                f"{path} fails on texts with unknown words: {error}",
                fix="add the unknown token to the vocabulary of tokenizer.json",
            ) from error
