"""Parse YAML safely: no code, no aliases, no duplicate keys; ``1e-5`` is a number.

In: text. Out: plain values. Also decodes an experiment file, with or without a byte order mark.
"""

import codecs
import math
import re
from typing import Any

import yaml

from lft_ray.errors import ConfigError

__all__ = ["decoded", "inline", "load_yaml"]

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Byte order marks with which editors begin a file -> encoding."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and aliases, and reads 1e-5 as a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ConfigError(f"YAML aliases are not allowed (line {mark.line + 1})", fix="write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if str(key) in seen:
                raise ConfigError(f"duplicate key {key!r} (line {key_node.start_mark.line + 1})", fix="keep one")
            seen.add(str(key))
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what `_Loader` would read as something else."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def load_yaml(text: str) -> Any:
    """Parse one YAML document.

    Raises:
        yaml.YAMLError: it is not YAML.
        ConfigError: it has aliases or duplicate keys.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506  (_Loader is a SafeLoader)


def inline(value: Any) -> str:
    """Write a value as YAML on one line, to stand at a key or in a list; `load_yaml` reads the same value again."""
    text: str = yaml.dump(
        [value], Dumper=_Dumper, default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf
    )
    return text.strip()[1:-1]


def decoded(data: bytes) -> str:
    """Decode a file as UTF-8, or as its byte order mark says.

    Raises:
        UnicodeDecodeError: it is neither.
    """
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    return data.decode(encoding)
