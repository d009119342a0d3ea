"""Read an experiment file: YAML, ``extends``, ``--set a.b=c``; report every mistake at once by dotted path.

In: a path and overrides. Out: a tree of keys and values, or the validated model. Relative data paths stay relative to
the working directory, as in a shell. Never executes anything found in the file: safe loading, at most one megabyte, no
duplicate keys, no aliases.
"""

import copy
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from lft_ray.config.loader import decoded, load_yaml
from lft_ray.config.overrides import kinds_at, value_of
from lft_ray.errors import ConfigError, field_problems, nearest
from lft_ray.system.paths import resolve

__all__ = ["overridden", "read_tree", "validated", "with_current_names"]

SpecT = TypeVar("SpecT", bound=BaseModel)

MAX_BYTES = 1_000_000
RENAMED = {
    "training.plateau": "early_stopping",
    "training.head_start": "head_init",
    "training.activations_gb": "activation_cache_gb",
    "training.distil": "distill",
    "selection.confirm_share": "confirmation_fraction",
    "selection.confirm_seeds": "confirmation_seeds",
}
"""Former key -> its current name, under the same parent; for the error message."""
RENAMED_VALUES = {
    "training.method": {"frozen": "freeze", "head": "linear_probe", "distil": "distill"},
    "training.head_init": {"probe": "linear_probe"},
}
"""Key -> former value -> its current name. Also applied to the methods of a condition (``when: {method: [...]}``)."""


def read_tree(path: Path, overrides: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """Read ``path``, follow ``extends`` and apply ``overrides`` (``a.b=c``); validates nothing.

    Raises:
        ConfigError: the file is missing or not YAML, or an override does not fit into the tree.
    """
    return overridden(_read_tree(resolve(path), chain=[]), overrides, model)


def overridden(tree: dict[str, Any], overrides: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """Apply overrides such as ``a.b=c`` to the tree in place, and return it.

    Args:
        tree: keys and values.
        overrides: ``a.b=c``, in order.
        model: schema of the tree, which says whether a value is text.

    Raises:
        ConfigError: naming the override that cannot be parsed or does not fit into the tree.
    """
    for item in overrides:
        _override(tree, item, model)
    return tree


def with_current_names(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with the keys and values of an earlier version under their current names.

    For the experiment of a run folder, which that version wrote; in an experiment file a former name is an error.
    """
    current = copy.deepcopy(tree)
    for path, now in RENAMED.items():
        section, _, key = path.rpartition(".")
        if isinstance(found := current.get(section), dict) and key in found and now not in found:
            found[now] = found.pop(key)
    for path, names in RENAMED_VALUES.items():
        section, _, key = path.rpartition(".")
        if isinstance(found := current.get(section), dict) and key in found:
            value = found[key]
            is_list = isinstance(value, list)
            renamed = [names.get(v, v) if isinstance(v, str) else v for v in (value if is_list else [value])]
            found[key] = renamed if is_list else renamed[0]
    return current


def validated(model: type[SpecT], tree: dict[str, Any], *, source: str) -> SpecT:
    """Validate a plain dictionary.

    Args:
        model: pydantic model to validate against.
        tree: keys and values.
        source: name of the file, for the error message.

    Raises:
        ConfigError: naming every wrong key with its dotted path.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = list(dict.fromkeys(_explain(error, model)))
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise ConfigError(
            f"{source}: {count}\n" + "\n".join(f"  - {line}" for line in lines),
            fix="`lft env --schema` prints every key with its meaning",
        ) from None


def _read_tree(path: Path, chain: list[Path]) -> dict[str, Any]:
    resolved = path.resolve()
    if resolved in chain:
        raise ConfigError(f"{path} extends itself: {' -> '.join(p.name for p in [*chain, resolved])}")
    if not path.is_file():
        near = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
        raise ConfigError(f"experiment file not found: {path}.{near}", fix="`lft init` writes one to start from")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are allowed")
    try:
        tree = load_yaml(decoded(path.read_bytes()))
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}", fix="save it as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        told = _one_line(str(error).replace('in "<unicode string>", ', "at "))
        fix = "indent with spaces, not tabs" if "\\t" in told else "`lft init` writes a file to start from"
        raise ConfigError(f"{path} is not valid YAML: {told}", fix=fix) from None
    if not isinstance(tree, dict):
        what = "is empty" if tree is None else f"must be a mapping, got a {type(tree).__name__}"
        raise ConfigError(f"{path} {what}", fix="`lft init` writes a file to start from")
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    return _merge(_read_tree(path.parent / resolve(str(parent)), [*chain, resolved]), tree)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _override(tree: dict[str, Any], item: str, model: type[BaseModel]) -> None:
    path, equals, text = item.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set expects a.b=value, got {item!r}", fix="for example --set search.trials=8")
    *parents, leaf = keys = path.strip().split(".")
    value = value_of(path.strip(), text, kinds_at(keys, model))
    node = tree
    for key in parents:
        child = node.get(key)
        if child is None:
            child = node[key] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {path}: {key!r} is of type {type(child).__name__} and has no keys below it")
        node = child
    node[leaf] = value


def _explain(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    items = [(_path(problem.location), problem) for problem in field_problems(error)]
    exact = {path for path, problem in items if not problem.kind.endswith("_type")}
    for path, problem in items:
        # Pydantic reports every branch of a union: if one branch has the right type but a wrong value, skip the others.
        if problem.kind.endswith("_type") and any(other == path or other.startswith(f"{path}.") for other in exact):
            continue
        if problem.kind == "extra_forbidden":
            *parents, key = problem.location
            allowed = _keys_at(parents, model)
            if path in RENAMED:
                yield f"unknown key {path}: renamed to {RENAMED[path]}"
            else:
                yield f"unknown key {path}: expected one of {', '.join(allowed)}.{nearest(str(key), allowed)}"
        elif problem.kind == "missing":
            yield f"missing key {path}"
        elif not path:
            # A check across keys: its message names them, and the input is the whole tree, too long to print.
            yield problem.message
        else:
            hint = _renamed_value(path, problem.given) or _quoting(problem.kind, problem.given)
            yield f"{path}: {problem.message} (got {_shorten(problem.given)}){hint}"


def _quoting(kind: str, given: object) -> str:
    """What to write where YAML has read a text such as ``no``, ``2024`` or ``2024-01-15`` as another type."""
    if kind != "string_type" or not isinstance(given, bool | int | float | date):
        return ""
    return ': YAML reads such a word as another type than text, unless it is in quotes, such as "no" or "2024"'


def _renamed_value(path: str, given: object) -> str:
    key = "training.method" if ".when.method" in path else path.partition("[")[0]
    current = RENAMED_VALUES.get(key, {}).get(str(given))
    return f": {given} was renamed to {current}" if current else ""


def _path(loc: tuple[int | str, ...]) -> str:
    parts = [part for part in loc if not (isinstance(part, str) and _is_branch(part))]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _is_branch(part: str) -> bool:
    # Pydantic puts the branch of a union into the location ("Range", "list[constrained-int]"): not a key of the file.
    return (
        "[" in part
        or part in {"Range", "Choice", "DecayRange", "int", "float", "str", "bool"}
        or part.startswith(("constrained", "literal"))
    )


def _keys_at(loc: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            model = next(_models_in(model.model_fields[part].annotation), model)
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
