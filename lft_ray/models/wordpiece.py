"""Build the tokenizer of a BERT base that has a ``vocab.txt`` instead of a ``tokenizer.json``.

In: a folder with ``vocab.txt``, ``tokenizer_config.json`` and ``special_tokens_map.json``. Out: a `Tokenizer` that
splits texts as the base was trained on. Never guesses: settings of another tokenizer are named errors.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lft_ray.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["SETTINGS", "WORDPIECE", "WORDPIECE_FAMILIES", "read_vocabulary", "wordpiece_tokenizer"]

WORDPIECE = "vocab.txt"
WORDPIECE_FAMILIES = ("bert", "distilbert")
"""Families whose ``vocab.txt`` lists word pieces. RoBERTa and its relatives store a BPE or fastBPE vocabulary there."""
SETTINGS = "tokenizer_config.json"
_SPECIAL_MAP = "special_tokens_map.json"
_CLASSES = frozenset({"BertTokenizer", "DistilBertTokenizer", "PreTrainedTokenizer", "TokenizersBackend"})
"""Values of ``tokenizer_class`` that stand for plain BERT word pieces; each may end in Fast."""
_SWITCHES = {
    # Key of tokenizer_config.json -> argument of BertWordPieceTokenizer, and its default.
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
    "clean_text": ("clean_text", True),
}
_SPECIALS = {
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}
_NEEDED = ("unk_token", "cls_token", "sep_token")
_FIX = "save its tokenizer.json with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)"


def wordpiece_tokenizer(folder: Path) -> "Tokenizer":
    """Return the tokenizer that ``vocab.txt`` and the settings beside it describe.

    Raises:
        ModelError: a file is damaged, a special token is not in the vocabulary, or the settings are those of a
            tokenizer that does more than split words into pieces.
    """
    from tokenizers import BertWordPieceTokenizer

    settings = _read_object(folder / _SPECIAL_MAP) | _read_object(folder / SETTINGS)
    _refuse_others(settings, folder)
    vocabulary = read_vocabulary(folder / WORDPIECE)
    specials = {key: _special(settings, key, default, folder) for key, default in _SPECIALS.items()}
    for key in _NEEDED:
        if specials[key] not in vocabulary:
            raise ModelError(
                f"{folder / WORDPIECE} has no {specials[key]!r}, which is its {key}",
                fix=f"name the base's own {key} in {folder / SETTINGS}, or {_FIX}",
            )
    # The mask and padding tokens are never part of a text; a base without them is complete.
    known = {key: token for key, token in specials.items() if token in vocabulary}
    switches = {argument: _switch(settings, key, default, folder) for key, (argument, default) in _SWITCHES.items()}
    try:
        tokenizer: Tokenizer = BertWordPieceTokenizer(vocabulary, **known, **switches)._tokenizer
    except Exception as error:  # the library raises plain Exception and TypeError
        raise ModelError(f"{folder / WORDPIECE} cannot be used as a vocabulary: {error}", fix=_FIX) from error
    return tokenizer


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}", fix="download the base model again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not a JSON object", fix="download the base model again")
    return value


def _refuse_others(settings: dict[str, Any], folder: Path) -> None:
    kind = str(settings.get("tokenizer_class") or "BertTokenizer")
    reason = ""
    if kind.removesuffix("Fast") not in _CLASSES:
        reason = f"tokenizer_class {kind}"
    elif settings.get("do_basic_tokenize") is False:
        reason = "do_basic_tokenize: false"
    elif settings.get("never_split"):
        reason = "never_split"
    if reason:
        raise ModelError(
            f"{folder} has a {WORDPIECE}, and {SETTINGS} says {reason}: plain word pieces would split texts "
            "differently from the texts that the base was trained on",
            fix=_FIX,
        )


def read_vocabulary(path: Path) -> dict[str, int]:
    """Return the tokens of a ``vocab.txt`` and their ids.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        # Universal newlines: with Windows line ends every token would carry a carriage return and match no text.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}", fix="download the base model again") from error
    if lines and not lines[-1]:
        lines.pop()
    return {token: number for number, token in enumerate(lines)}


def _special(settings: dict[str, Any], key: str, default: str, folder: Path) -> str:
    value = settings.get(key)
    if isinstance(value, dict):  # how transformers writes a token with properties
        value = value.get("content")
    if value is None:
        return default
    if not isinstance(value, str):
        raise ModelError(f"{key} in {folder / SETTINGS} must be a text, got {type(value).__name__}")
    return value


def _switch(settings: dict[str, Any], key: str, default: bool | None, folder: Path) -> bool | None:
    value = settings.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ModelError(f"{key} in {folder / SETTINGS} must be true or false, got {value!r}")
    return value
