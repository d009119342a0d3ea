"""Addresses of an endpoint. In: host and port. Out: a URL, and whether only this machine can reach it."""

import ipaddress
from contextlib import suppress

__all__ = ["is_loopback", "url"]


def url(host: str, port: int) -> str:
    """Address of an endpoint as a client on this machine writes it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
