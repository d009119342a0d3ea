"""Read the value of one override: ``--set search.trials=8``, ``--set task.text=note #2``.

In: the text after the equals sign, and the type of the key in the schema. Out: a plain value. A key that holds text
takes the text as it is; a list or a mapping is YAML; any other scalar is read as JSON reads it. What YAML would change
in silence (``no``, ``010``, ``12:30``, a comment) is an error that shows the quoting.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel

from lft_ray.config.loader import load_yaml
from lft_ray.errors import ConfigError, InputError
from lft_ray.system.paths import resolve

__all__ = ["kinds_at", "value_of"]

_NUMBER = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_YAML_BOOLEANS = frozenset({"yes", "no", "on", "off", "y", "n"})
_COMMENT = re.compile(r"""^(?:[^'"#]|\S\#|"(?:[^"\\]|\\.)*"|'[^']*')*\s\#""")
_QUOTES = "'\""


def kinds_at(path: Sequence[str], model: type[BaseModel]) -> set[type] | None:
    """Types of values that the schema allows at a dotted path; None if the schema has no such key.

    Returns:
        Of ``str``, ``bool``, ``int``, ``float``, ``list``, ``dict`` and ``NoneType``; a literal counts as its type.
    """
    annotation: Any = model
    for key in path:
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            continue
        fields = [found.model_fields[key] for found in _models(annotation) if key in found.model_fields]
        if not fields:
            return None
        annotation = fields[0].annotation
    return set(_kinds(annotation))


def value_of(path: str, text: str, kinds: set[type] | None) -> Any:
    """Return the value of an override.

    Args:
        path: dotted path, for the error message.
        text: what follows the equals sign.
        kinds: see `kinds_at`.

    Raises:
        ConfigError: the text is no value of these types, or YAML would read it as something else than it looks like.
    """
    text = text.strip()
    if not text or (text == "null" and (kinds is None or str not in kinds or type(None) in kinds)):
        return None
    if text[0] in _QUOTES and text[-1] == text[0] and len(text) > 1:
        return _parsed(path, text)
    if text[0] in "[{" and (kinds is None or kinds & {list, dict}):
        return _collection(path, text, kinds)
    if kinds is not None and str in kinds and not _is_other(text, kinds):
        return text
    return _scalar(path, text, kinds)


def _is_other(text: str, kinds: set[type]) -> bool:
    """Whether a key of several types, such as ``auto`` or a number, is given a value of another type than text."""
    if kinds & {int, float} and _NUMBER.fullmatch(text):
        return True
    return bool in kinds and text in {"true", "false"}


def _collection(path: str, text: str, kinds: set[type] | None) -> Any:
    # A file may be called "[final] rows.csv".
    if kinds is not None and str in kinds and _is_file(text):
        return text
    if _COMMENT.search(text):
        raise _comment(path, text)
    try:
        return _parsed(path, text)
    except ConfigError:
        if kinds is not None and str in kinds:
            return text
        raise


def _is_file(text: str) -> bool:
    try:
        return resolve(text).exists()
    except InputError:
        return False  # a long list is no path


def _scalar(path: str, text: str, kinds: set[type] | None) -> Any:
    if _COMMENT.search(text) or text.startswith("#"):
        raise _comment(path, text)
    lowered = text.lower()
    if lowered in _YAML_BOOLEANS or (lowered in {"true", "false"} and text != lowered):
        wanted = "true or false" if kinds is None or bool in kinds else _names(kinds)
        raise _surprise(path, text, f"YAML reads {text!r} as a boolean; expected {wanted}")
    if _OCTAL.fullmatch(text):
        raise _surprise(path, text, f"YAML reads {text!r} as an octal number; expected {_names(kinds)}")
    if _BASE_60.fullmatch(text):
        raise _surprise(path, text, f"YAML reads {text!r} as a number to base 60; expected {_names(kinds)}")
    if _NUMBER.fullmatch(text):
        plain = text.replace("_", "")
        return int(plain) if plain.lstrip("+-").isdigit() else float(plain)
    if lowered in {"true", "false"}:
        if kinds is not None and bool not in kinds:
            # Pydantic takes true for 1.
            raise _surprise(path, text, f"{text!r} is a boolean; expected {_names(kinds)}")
        return lowered == "true"
    # Left to the schema, whose message names what is allowed.
    return text


def _parsed(path: str, text: str) -> Any:
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--set {path}: {text!r} is not valid YAML: {reason}", fix=_fix(path, text)) from None


def _comment(path: str, text: str) -> ConfigError:
    return _surprise(path, text, f"YAML reads the end of {text!r} as a comment")


def _surprise(path: str, text: str, message: str) -> ConfigError:
    return ConfigError(f"--set {path}: {message}", fix=_fix(path, text))


def _fix(path: str, text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f"""if text is meant, quote it: --set '{path}="{quoted}"'"""


def _names(kinds: set[type] | None) -> str:
    words = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    names = {words[kind] for kind in kinds or {int} if kind in words}
    return " or ".join(sorted(names)) or "another value"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not list:
        for inner in get_args(annotation):
            yield from _models(inner)


def _kinds(annotation: Any) -> Iterator[type]:
    origin = get_origin(annotation)
    if origin is Literal:
        yield from (type(value) for value in get_args(annotation))
    elif annotation in (str, bool, int, float, type(None)):
        yield annotation
    elif origin in (list, tuple) or annotation is list:
        yield list
    elif origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield dict
    else:
        for inner in get_args(annotation):
            yield from _kinds(inner)
