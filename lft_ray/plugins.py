"""Resolve the name of a plug-in to its class: a built-in name, or ``package.module:Name``.

In: a name and a table of built-in plug-ins. Out: the imported object. The tables are plain dictionaries in the
``__init__.py`` of each plug-in folder, and not a decorator registry: a Ray worker that has not imported the decorating
module would find such a registry empty.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from lft_ray.errors import ConfigError, nearest

__all__ = ["resolve"]


def resolve(kind: str, table: Mapping[str, str], *, where: str) -> Any:
    """Import and return the object behind ``kind``.

    Args:
        kind: a key of ``table``, or a path ``package.module:Name``.
        table: built-in name -> path.
        where: key of the experiment file, for the error message.

    Raises:
        ConfigError: the name is unknown or the path cannot be imported.
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
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"cannot import {path!r} at {where}: {error}",
            fix="install its package on every node, or use a built-in name",
        ) from error
