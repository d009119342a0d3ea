"""HTTP clients that reach this machine and its network without a proxy, and the rest of the world as configured.

In: the URL of a server. Out: an ``httpx`` client. Proxy and certificate variables (``HTTP_PROXY``, ``ALL_PROXY``,
``NO_PROXY``, ``SSL_CERT_FILE``) are read for public addresses only; a value that cannot be used there is an error that
names the variable. Never sends a request itself.
"""

import ipaddress
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

from lft_ray.errors import InputError

__all__ = ["is_internal", "make_client"]

_PORTS = {"http": 80, "https": 443}
ClientT = TypeVar("ClientT", httpx.Client, httpx.AsyncClient)


def make_client(kind: type[ClientT], url: str, **options: Any) -> ClientT:
    """Return a client for requests to one server.

    Args:
        kind: ``httpx.Client`` or ``httpx.AsyncClient``.
        url: address of the server.
        options: further arguments of the client.

    Raises:
        InputError: the address is public, and a variable for proxies or certificates cannot be used.
        httpx.InvalidURL: the URL is malformed.
    """
    parts = urlsplit(str(httpx.URL(url)))
    if is_internal(parts.hostname or ""):
        # A bad certificate file must not matter where no certificate is checked.
        verify: ssl.SSLContext | bool = _certificates() if parts.scheme == "https" else True
        return kind(trust_env=False, verify=verify, **options)
    proxy = _proxy_of(parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme))
    try:
        return kind(trust_env=False, proxy=proxy, verify=_certificates(), **options)
    except ImportError:
        raise InputError(
            f"the proxy {proxy} needs the package socksio", fix="pip install 'httpx[socks]', or unset ALL_PROXY"
        ) from None
    except (ValueError, httpx.InvalidURL) as error:
        raise InputError(
            f"the proxy {proxy!r} of the environment cannot be used: {error}",
            fix="correct or unset HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or name the host in NO_PROXY",
        ) from None


def is_internal(host: str) -> bool:
    """Whether a host is this machine or in its private network, which no proxy serves.

    Private and link-local addresses count, and names without a dot, such as those of the nodes of a cluster.
    """
    name = host.strip("[]").rstrip(".").lower()
    if not name or ("." not in name and ":" not in name) or name.endswith(".localhost"):
        return True
    with suppress(ValueError):
        address = ipaddress.ip_address(name.partition("%")[0])
        return address.is_loopback or address.is_private or address.is_link_local or address.is_unspecified
    return name in {socket.gethostname().lower(), socket.getfqdn().lower()} if name.endswith(_own_domain()) else False


def _own_domain() -> str:
    # Only a name that ends like that of this machine is worth a look-up.
    return socket.gethostname().partition(".")[2].lower() or "\0"


def _proxy_of(scheme: str, host: str, port: int | None) -> str | None:
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or _is_excepted(host, port, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    """Whether NO_PROXY names a host: names with their subdomains, addresses, ranges, all with or without a port."""
    name = host.strip("[]").lower()
    for entry in exceptions.lower().replace(",", " ").split():
        if entry == "*":
            return True
        with suppress(ValueError):
            network = ipaddress.ip_network(entry.strip("[]"), strict=False)
            with suppress(ValueError):
                if ipaddress.ip_address(name) in network:
                    return True
            continue
        pattern, colon, only = entry.rpartition(":")
        pattern = pattern if colon and only.isdecimal() else entry
        if colon and only.isdecimal() and port != int(only):
            continue
        pattern = pattern.strip("[]").removeprefix("*").removeprefix(".")
        if pattern and (name == pattern or name.endswith(f".{pattern}")):
            return True
    return False


def _certificates() -> ssl.SSLContext | bool:
    """Certificates from SSL_CERT_FILE or SSL_CERT_DIR; True: those of httpx."""
    for variable, argument in (("SSL_CERT_FILE", "cafile"), ("SSL_CERT_DIR", "capath")):
        if value := os.environ.get(variable):
            try:
                if not Path(value).exists():
                    raise FileNotFoundError("there is no such file")
                if argument == "cafile":
                    return ssl.create_default_context(cafile=value)
                return ssl.create_default_context(capath=value)
            except (OSError, ssl.SSLError) as error:
                raise InputError(
                    f"{variable}={value} cannot be read: {error}", fix=f"correct it, or unset {variable}"
                ) from None
    return True
