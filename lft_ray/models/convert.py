"""Convert ``.bin`` weights and ``vocab.txt`` of a base folder to safetensors and ``tokenizer.json``, once.

In: a folder. Out: the same folder, or a converted copy in the cache. Never unpickles code: pickles are read with
``weights_only``, and only where the caller allows it.
"""

import hashlib
import os
import pickle
import shutil
import tempfile
from pathlib import Path

from lft_ray.errors import ModelError
from lft_ray.models.wordpiece import WORDPIECE, wordpiece_tokenizer
from lft_ray.system.paths import resolve

__all__ = ["BIN_WEIGHTS", "CONFIG", "SAFE_WEIGHTS", "TOKENIZER", "TOKENIZER_FILES", "WORDPIECE", "converted"]

CONFIG = "config.json"
SAFE_WEIGHTS = "model.safetensors"
BIN_WEIGHTS = "pytorch_model.bin"
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json")
_FORMAT = "2"
"""Version of the conversion: copies in the cache that an older one made are not used."""


def converted(folder: Path, *, allow_bin: bool) -> Path:
    """Return a folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``.

    Args:
        folder: base model folder with these files, or with ``pytorch_model.bin`` and ``vocab.txt`` instead.
        allow_bin: whether a pickle may be read.

    Returns:
        The folder itself if nothing needs converting, else the folder of the converted copy.

    Raises:
        ModelError: the pickle is damaged or would run code, or ``vocab.txt`` and its settings do not describe a
            tokenizer that can be converted.
    """
    needs_weights = not (folder / SAFE_WEIGHTS).is_file()
    needs_tokenizer = not (folder / TOKENIZER).is_file()
    if not needs_weights and not needs_tokenizer:
        return folder
    target = _cache_root() / _key(folder)
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"{folder} must be converted, and the cache {target.parent} cannot be written: {error.strerror}",
            fix="set XDG_CACHE_HOME to a folder that can be written",
        ) from None
    # Convert beside the target, then rename: a process that is killed leaves no half-converted folder.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
        made = Path(scratch) / "base"
        made.mkdir()
        for name in (CONFIG, *TOKENIZER_FILES):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, made / name)
        if needs_weights and allow_bin:
            _bin_to_safetensors(folder / BIN_WEIGHTS, made / SAFE_WEIGHTS)
        else:
            shutil.copyfile(folder / SAFE_WEIGHTS, made / SAFE_WEIGHTS)
        if needs_tokenizer:
            wordpiece_tokenizer(folder).save(str(made / TOKENIZER))
        _publish(made, target)
    return target


def _publish(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:
        # Another process has converted the same base in the meantime; equal input gives an equal folder.
        if not target.is_dir():
            raise


def _cache_root() -> Path:
    return resolve(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "lft_ray" / "models"


def _key(folder: Path) -> str:
    # Sizes and times instead of content: hashing the weights of a large base takes seconds.
    parts = [_FORMAT, str(folder.resolve())]
    for name in (CONFIG, SAFE_WEIGHTS, BIN_WEIGHTS, WORDPIECE, *TOKENIZER_FILES):
        path = folder / name
        if path.is_file():
            stat = path.stat()
            parts.append(f"{name}:{stat.st_size}:{stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _bin_to_safetensors(source: Path, target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise ModelError(
            f"{source} is damaged or cannot be read without running code: {type(error).__name__}",
            fix="choose a base with safetensors weights",
        ) from error
    # Tied weights share storage, which safetensors rejects: clone each tensor.
    save_file({name: value.clone().contiguous() for name, value in state.items()}, target)
