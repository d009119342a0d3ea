"""Resolve the name of a plug-in to its class: a built-in name, or ``package.module:Name``.

In: a name and a table of built-in plug-ins. Out: the imported object. The tables are plain dictionaries in the
``__init__.py`` of each plug-in folder, and not a decorator registry: a Ray worker that has not imported the decorating
module would find such a registry empty.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from lft_ray.errors import ConfigError, first_line, nearest

__all__ = ["resolve"]


def resolve(kind: str, table: Mapping[str, str], *, where: str) -> Any:
    """Import and return the object behind ``kind``.

    Args:
        kind: a key of ``table``, or a path ``package.module:Name``.
        table: built-in name -> path.
        where: key of the experiment file, for the error message.

    Raises:
        ConfigError: the name is unknown, or the path cannot be imported or is nothing that can be called.
    """
    path = table.get(kind, kind)
    if ":" not in path:
        allowed = ", ".join(sorted(table))
        raise ConfigError(
            f"unknown value {kind!r} at {where}: expected one of {allowed}, or package.module:Name."
            f"{nearest(kind, table)}"
        )
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # the module runs whatever its author wrote
        told = first_line(error) if isinstance(error, ImportError | AttributeError) else _named(error)
        raise ConfigError(
            f"cannot import {path!r} at {where}: {told}",
            fix="install its package on every node, or use a built-in name",
        ) from error
    if not callable(found):
        message = f"{path!r} at {where} is of type {type(found).__name__}: expected a class or a function"
        raise ConfigError(message, fix="name the class or function of the plug-in")
    return found


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
