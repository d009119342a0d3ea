"""Import a checkpoint of Google's BERT as a base model folder that ``models`` of an experiment can name.

In: a folder with ``bert_model.ckpt.index``, its data files, ``bert_config.json`` and ``vocab.txt``. Out: a folder with
``config.json``, ``model.safetensors`` and ``tokenizer.json``, all or nothing: it is written beside the target and then
renamed. Never leaves half a folder, and never replaces one that it could not have written.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lft_ray.errors import InputError, ModelError, StorageError
from lft_ray.models.architecture import Architecture
from lft_ray.models.convert import CONFIG, SAFE_WEIGHTS, TOKENIZER, WORDPIECE
from lft_ray.models.tensorflow.bert import Plan, architecture, plan
from lft_ray.models.tensorflow.casing import Casing, casing
from lft_ray.models.tensorflow.checkpoint import Checkpoint, find_index
from lft_ray.models.tokenizer_check import check_base_files
from lft_ray.models.wordpiece import SETTINGS, read_vocabulary, wordpiece_tokenizer
from lft_ray.strict_json import parse
from lft_ray.system import scratch, signals
from lft_ray.system.paths import resolve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BERT_CONFIG", "Imported", "import_checkpoint"]

BERT_CONFIG = "bert_config.json"
SUFFIX = "-hf"
"""Added to the name of the checkpoint's folder, where the user names no other."""
_OURS = frozenset({CONFIG, SAFE_WEIGHTS, TOKENIZER, SETTINGS, WORDPIECE})
"""Files that an import writes: a folder with others is never replaced."""
_PAD = "[PAD]"
_NEEDED = ("[UNK]", "[CLS]", "[SEP]")
_PREFIX = ".lft-import-"


@dataclass(frozen=True, slots=True)
class Imported:
    """What was imported.

    Attributes:
        folder: the new folder.
        index: the checkpoint that was read.
        net: its architecture.
        tensors: weights that were read.
        bytes: size of ``model.safetensors``.
        casing: whether texts are lower-cased, and why.
        plan: which variables were read, and which left out.
        notes: what the user should know beside these.
    """

    folder: Path
    index: Path
    net: Architecture
    tensors: int
    bytes: int
    casing: Casing
    plan: Plan
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {
            "folder": str(self.folder),
            "checkpoint": str(self.index),
            "layers": self.net.layers,
            "hidden": self.net.hidden,
            "vocab": self.net.vocab,
            "params": self.net.params,
            "tensors": self.tensors,
            "bytes": self.bytes,
            "do_lower_case": self.casing.lower,
            "do_lower_case_from": self.casing.source,
            "skipped": {
                "optimizer": len(self.plan.optimizer),
                "heads": list(self.plan.heads),
                "others": list(self.plan.others),
            },
            "notes": list(self.notes),
        }


def import_checkpoint(
    given: str | Path, output: str | Path | None = None, *, lower: bool | None = None, replace: bool = False
) -> Imported:
    """Read a checkpoint and write it as a base model folder.

    Args:
        given: folder of the checkpoint, or its prefix, such as ``bert/bert_model.ckpt``.
        output: folder to write; None: the name of the checkpoint's folder and ``-hf``, in the working directory.
        lower: whether texts are lower-cased; None: by the name of the folder, else by the vocabulary.
        replace: replace the folder of an earlier import.

    Raises:
        ModelError: a file is missing or damaged, or the files do not belong together.
        InputError: the output exists, or cannot be written.
    """
    index = find_index(resolve(given))
    source = index.parent
    target = resolve(output) if output is not None else Path(f"{source.resolve().name}{SUFFIX}")
    _check_target(target, source, replace=replace)
    config = _read_config(source / BERT_CONFIG)
    net = architecture(config, where=str(source / BERT_CONFIG))
    checkpoint = Checkpoint(index)
    shapes = {name: entry.shape for name, entry in checkpoint.entries.items()}
    found = plan(shapes, net, where=str(index))
    vocabulary = _vocabulary(source / WORDPIECE, net)
    cased = casing(lower, source.resolve().name, vocabulary)
    pad_id = vocabulary.get(_PAD, 0)
    with _writing(target, source) as made:
        _write_small_files(made, config, net, cased, pad_id=pad_id, source=source)
        _save(_weights(checkpoint, found), made / SAFE_WEIGHTS)
        # The library makes a file of mode 0600, and others may share the folder.
        shutil.copymode(made / CONFIG, made / SAFE_WEIGHTS)
        check_base_files(made, vocab=net.vocab, pad_id=pad_id)
        size = (made / SAFE_WEIGHTS).stat().st_size
        _publish(made, target, replace=replace)
    notes = _notes(net, found, vocabulary)
    return Imported(target, index, net, len(found.weights), size, cased, found, notes)


def _check_target(target: Path, source: Path, *, replace: bool) -> None:
    """Refuse a target that exists, unless it is an empty folder, or an earlier import that is to be replaced."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise InputError(f"{target} already exists, and is no folder", fix="choose another --output")
    if target.resolve() == source.resolve() or target.resolve() in source.resolve().parents:
        raise InputError(f"{target} is the checkpoint's own folder, or above it", fix="choose another --output")
    names = {path.name for path in target.iterdir()}
    if not names:
        return
    if not replace:
        raise InputError(f"{target} already exists", fix="choose another --output, or add --replace")
    others = sorted(names - _OURS)
    if others or CONFIG not in names or target.is_symlink():
        what = f"it has {others[0]!r}" if others else "it is a link" if target.is_symlink() else f"it has no {CONFIG}"
        raise InputError(f"{target} is not replaced: an import did not write it, {what}", fix="choose another --output")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        value = parse(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ModelError(
            f"{path} is missing: it says how many layers and heads the checkpoint has",
            fix="copy it there from the release that the checkpoint was trained from",
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}", fix="copy or download it again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not a JSON object", fix="copy or download it again")
    return value


def _vocabulary(path: Path, net: Architecture) -> dict[str, int]:
    if not path.is_file():
        raise ModelError(
            f"{path} is missing: without it no text can be read",
            fix="copy it there from the release that the checkpoint was trained from",
        )
    found = read_vocabulary(path)
    most = max(found.values(), default=-1) + 1
    if most > net.vocab:
        raise ModelError(
            f"{path} has {most:,} tokens, and the embedding table has {net.vocab:,} rows",
            fix="use the vocab.txt of this checkpoint",
        )
    lacking = [token for token in _NEEDED if token not in found]
    if lacking:
        raise ModelError(
            f"{path} has no {', '.join(map(repr, lacking))}, which every text of a BERT needs",
            fix="use the vocab.txt of this checkpoint",
        )
    return found


def _write_small_files(
    made: Path, config: dict[str, Any], net: Architecture, cased: Casing, *, pad_id: int, source: Path
) -> None:
    """Write ``config.json``, the vocabulary, and the tokenizer that it describes."""
    # Keys that only this product reads differently stay; those of the architecture are the ones that were checked.
    known = {"architectures": ["BertModel"], **config, **net.to_config(), "pad_token_id": pad_id}
    (made / CONFIG).write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(source / WORDPIECE, made / WORDPIECE)
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": cased.lower, "model_max_length": net.positions}
    (made / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    # Not the library's own save, which raises a plain Exception on a full disk.
    (made / TOKENIZER).write_text(wordpiece_tokenizer(made).to_str(pretty=True), encoding="utf-8")


def _weights(checkpoint: Checkpoint, found: Plan) -> "dict[str, NDArray[np.float32]]":
    import numpy as np

    weights = {}
    for weight in found.weights:
        value = checkpoint.read(found.scope + weight.name)
        weights[weight.target] = np.ascontiguousarray(value.T if weight.is_transposed else value)
        if not np.isfinite(weights[weight.target]).all():
            raise ModelError(
                f"tensor {found.scope}{weight.name} of {checkpoint.index} has values that are not finite",
                fix="take an earlier checkpoint: the training of this one had diverged",
            )
    return weights


def _save(weights: "Mapping[str, NDArray[np.float32]]", path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        # The mark says that matrices are stored as PyTorch has them, without which transformers refuses the file.
        save_file(dict(weights), path, metadata={"format": "pt"})
    except SafetensorError as error:  # how the library reports a full disk
        raise StorageError(
            f"{path.name} cannot be written: {error}", fix="free some room, or choose another --output"
        ) from error


@contextmanager
def _writing(target: Path, source: Path) -> Iterator[Path]:
    """Give a folder beside the target, which is removed at the end, also when the command must leave at once.

    Raises:
        ModelError: of the block, with ``source`` in place of that folder.
        StorageError: the disk is full or cannot be written.
    """
    made = target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.sweep_in(target.parent.resolve(), _PREFIX)
        private = scratch.make(prefix=_PREFIX, parent=target.parent.resolve())
        try:
            with signals.at_leave(private.remove):
                made = private.path / "base"
                made.mkdir()
                yield made
        finally:
            private.remove()
    except ModelError as error:
        # The folder that is being written has no name for the user yet.
        message, fix = (text.replace(str(made), str(source)) for text in (error.message, error.fix))
        raise ModelError(message, fix=fix) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageError(
            f"{target} cannot be written: {error.strerror or error}",
            fix="free some room, or choose another --output" if full else "choose another --output",
        ) from error


def _publish(made: Path, target: Path, *, replace: bool) -> None:
    """Move the finished folder to its place; the one it replaces goes with the private folder."""
    if not (replace and target.is_dir()):
        made.rename(target)
        return
    aside = made.parent / "replaced"
    target.rename(aside)
    try:
        made.rename(target)
    except BaseException:
        aside.rename(target)
        raise


def _notes(net: Architecture, found: Plan, vocabulary: Mapping[str, int]) -> tuple[str, ...]:
    notes = []
    rows = max(vocabulary.values(), default=-1) + 1
    if rows < net.vocab:
        notes.append(
            f"vocab.txt has {rows:,} tokens, and the embedding table {net.vocab:,} rows: the last are never read"
        )
    if not found.has_pooler:
        notes.append("the checkpoint has no pooler, which no search uses")
    return tuple(notes)
