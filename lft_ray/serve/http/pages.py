"""The two pages of an endpoint, each one file without an outside address: ``/ui`` to try it, ``/docs`` of its routes.

What they show comes from the endpoint and is set as text, never as HTML. Their own script and style are let in by hash,
nothing else is.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "UI", "Page"]


@dataclass(frozen=True, slots=True)
class Page:
    """A page and the headers that fence it in."""

    body: bytes
    headers: dict[str, str]


def _page(name: str) -> Page:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    script, style = (" ".join(_hashes(tag, text)) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"content-security-policy": policy, "referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
    return Page(text.encode(), headers)


def _hashes(tag: str, text: str) -> list[str]:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in found]


UI = _page("ui.html")
DOCS = _page("docs.html")
