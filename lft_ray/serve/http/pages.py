"""The two web pages of an endpoint: ``/ui`` to try the model, ``/docs`` to browse the API.

In: the HTML file beside this module. Out: its bytes and security headers. Each page is a single file that loads nothing
from another host. Data from the endpoint is inserted as text, never as HTML. The content security policy admits the
page's own script and style by hash, and nothing else.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "UI", "Page"]


@dataclass(frozen=True, slots=True)
class Page:
    """A page and its security headers."""

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
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()}'" for block in blocks]


UI = _page("ui.html")
DOCS = _page("docs.html")
