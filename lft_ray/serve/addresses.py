"""Addresses of an endpoint. In: host and port. Out: a URL, and whether the address is loopback only."""

import ipaddress
from contextlib import suppress

__all__ = ["is_loopback", "url"]


def url(host: str, port: int) -> str:
    """URL under which a client on this machine reaches the endpoint."""
    # A wildcard address is one to listen on, not one to connect to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether the address can be reached from this machine only."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
