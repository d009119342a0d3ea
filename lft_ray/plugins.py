"""Turn a plug-in's name into its class: a built-in name, or ``package.module:Name``.

Tables are plain dictionaries in each plug-in folder's ``__init__.py``. There is no decorator registry: a Ray worker
that never imported the decorating module would find it empty.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from lft_ray.errors import ConfigError, nearest

__all__ = ["resolve"]


def resolve(kind: str, table: Mapping[str, str], *, where: str) -> Any:
    """Import and return the object behind ``kind``.

    Args:
        kind: a key of ``table`` or a dotted path ``package.module:Name``.
        table: built-in name -> dotted path.
        where: the key of the experiment file, for the error.

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
            fix="install the package that holds it on every node, or use a built-in name",
        ) from error
