"""Find the splits of a data set among files. In: files or a folder, as a user names them. Out: `Files` with a name.

A word in a file's name tells its split (train, dev, val, test, ...); files that differ in that word alone belong
together. Never reads a file.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lft_ray.errors import InputError
from lft_ray.system.paths import matches, resolve

__all__ = ["Files", "find_files", "run_name"]

_WORDS = {
    "train": "train", "training": "train", "trn": "train",
    "validation": "validation", "val": "validation", "valid": "validation", "dev": "validation", "devel": "validation",
    "development": "validation", "validate": "validation", "eval": "validation",
    "test": "test", "testing": "test", "tst": "test", "heldout": "test", "holdout": "test",
}  # fmt: skip
_READABLE = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".pq")
_PACKED = (".gz", ".gzip", ".bz2", ".zst", ".zstd", ".zip")
_SHARD = re.compile(r"[-_.]\d+[-_]of[-_]\d+\b")
_NOT_NAMES = {"", "data", "dataset", "datasets", "raw", "processed", "csv", "parquet", "json", "files", "splits", "tmp"}
"""Names of folders that say nothing of the data."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of each split, as the user would write them, and a name for runs on them."""

    train: list[str]
    validation: list[str]
    test: list[str]
    name: str
    told: tuple[str, ...] = ()
    """What was found beside the files that were named."""


@dataclass(frozen=True, slots=True)
class _File:
    given: str
    """As it is written into the experiment."""
    path: Path
    split: str
    """train, validation or test; empty where the name does not say."""
    rest: tuple[str, ...]
    """Words of the name besides the split and the numbers of shards; files of one data set share them."""
    suffix: str


def find_files(given: Sequence[str]) -> Files:
    """Find train, validation and test files.

    Args:
        given: files, patterns, or one folder.

    Raises:
        InputError: a file is missing, or a folder holds no data set, or several.
    """
    named: list[_File] = []
    from_folder = False
    for entry in given:
        path = resolve(entry)
        if path.is_dir():
            from_folder = True
            named += _in_folder(entry, path)
        elif path.is_file():
            named.append(_described(entry, path))
        elif found := [other for other in matches(entry) or [] if other.is_file()]:
            named += [_described(str(other), other) for other in found]
        elif path.exists():
            raise InputError(
                f"{entry} is a pipe or a device, which cannot be read twice", fix="write it to a file first"
            )
        else:
            raise InputError(f"file {entry} does not exist", fix=f"paths are relative to {Path.cwd()}")
    groups = sorted({(file.rest, file.suffix) for file in named})
    if from_folder and len(groups) > 1:
        listed = "".join(f"\n    {file.given}" for file in named[:10])
        raise InputError(f"{given[0]} holds several data sets:{listed}", fix="name the files of one of them")
    chosen = list(named)
    if len(groups) == 1 and not from_folder:
        known = {file.path.resolve() for file in named}
        beside = [other for other in _beside(named[0]) if other.path.resolve() not in known]
        # A split that was named is complete as it was named.
        splits = {file.split or "train" for file in named}
        chosen += [other for other in beside if other.split and other.split not in splits]
        # A shard that was named is told to be one of several: two thirds of the data may be beside it.
        left = [other for other in beside if other.split in splits and _is_shard(other)]
        return _files(named, chosen, left if all(map(_is_shard, named)) else [])
    return _files(named, chosen)


def _is_shard(file: _File) -> bool:
    return _SHARD.search(file.path.name) is not None


def run_name(stem: str) -> str:
    """Make a name for runs out of that of a file: ASCII letters, digits, dots, hyphens and underscores."""
    plain = unicodedata.normalize("NFKD", stem.lower().replace("ß", "ss")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9._-]+", "-", plain)[:64].strip("-._") or "experiment"


def _files(named: list[_File], chosen: list[_File], left: Sequence[_File] = ()) -> Files:
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for file in chosen:
        parts[file.split or "train"].append(file.given)
    told = []
    if not parts["train"]:
        # Held-out files alone are somebody's whole data: cut them like any other.
        alone = parts["validation"] and parts["test"]
        if alone:
            raise InputError("no train file among " + ", ".join(file.given for file in named), fix="name it too")
        parts["train"], parts["validation"], parts["test"] = parts["validation"] or parts["test"], [], []
        told.append(f"no train file beside {named[0].given}: it is the train file, and splits are cut from it")
    held = [file for file in named if file.split in {"validation", "test"} and file.given not in parts["train"]]
    told += [f"{file.split}: {file.given}, by its name" for file in held]
    found = [file for file in chosen if file not in named]
    told += [f"{file.split}: {file.given}, found beside {named[0].given}" for file in found]
    if left:
        several = f"{left[0].given}" + (f" and {len(left) - 1} more" if len(left) > 1 else "")
        told.append(f"warning: only the shards that were named are read, not {several} beside them; name them, or *")
    return Files(parts["train"], parts["validation"], parts["test"], _name(named[0], len(chosen)), tuple(told))


def _name(file: _File, count: int) -> str:
    if file.rest or not file.split:
        stem = file.path.name[: -len(file.suffix)] if file.suffix and not file.split else "-".join(file.rest)
        return run_name(stem if count == 1 or file.split else "-".join(file.rest) or stem)
    for folder in file.path.resolve().parents[:3]:
        if folder.name.casefold() not in _NOT_NAMES and folder.name.casefold() not in _WORDS:
            return run_name(folder.name)
    return "experiment"


def _described(given: str, path: Path) -> _File:
    suffix = _suffix(path.name)
    stem = path.name[: -len(suffix)] if suffix else path.name
    words = [word for word in re.split(r"[\W_]+", stem.casefold()) if word]
    split, at = next(((_WORDS[word], i) for i, word in enumerate(words) if word in _WORDS), ("", -1))
    folder = path.parent.name.casefold()
    if split:
        # train-00000-of-00002: shards of one split.
        words = [w for i, w in enumerate(words) if i != at and not (i > at and (w.isdecimal() or w == "of"))]
    elif folder in _WORDS:
        split = _WORDS[folder]
        words = []
    return _File(given, path, split, tuple(words), suffix.casefold())


def _suffix(name: str) -> str:
    lower = name.casefold()
    packing = next((end for end in _PACKED if lower.endswith(end)), "")
    inner = lower.removesuffix(packing)
    kind = next((end for end in _READABLE if inner.endswith(end)), "")
    return name[len(name) - len(kind + packing) :] if kind or packing == ".zip" else ""


def _in_folder(given: str, folder: Path) -> list[_File]:
    files = _readable(given, folder)
    if not files:
        # train/a.csv and test/a.csv, or everything in one folder below.
        below = [other for other in sorted(folder.iterdir()) if other.is_dir() and not other.name.startswith(".")]
        split = [other for other in below if other.name.casefold() in _WORDS]
        for other in split or (below if len(below) == 1 else []):
            files += _readable(str(Path(given) / other.name), other)
    if not files:
        kinds = ", ".join(_READABLE)
        raise InputError(f"folder {given} holds no labelled text", fix=f"name its files; read are {kinds}, also packed")
    return files


def _readable(given: str, folder: Path) -> list[_File]:
    return [
        _described(str(Path(given) / path.name), path)
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith((".", "~$")) and _suffix(path.name)
    ]


def _beside(file: _File) -> list[_File]:
    parent = Path(file.given).parent
    try:
        others = _readable(str(parent), file.path.parent)
    except OSError:
        return []
    return [other for other in others if (other.rest, other.suffix) == (file.rest, file.suffix)]
