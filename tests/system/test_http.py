"""Proxy and certificate variables: of no account for this machine and its network."""

import httpx
import pytest

from lft_ray.errors import InputError
from lft_ray.system.http import is_internal, make_client

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def has_proxy(url):
    with make_client(httpx.Client, url) as client:
        return any(transport is not None for transport in client._mounts.values())


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.8.9.1", "localhost", "a.localhost", "::1", "[::1]", "0.0.0.0"),
        *("10.0.0.5", "192.168.1.2", "fe80::1%eth0", "head"),
    ],
)
def test_this_machine_and_its_network_are_internal(host):
    assert is_internal(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "example.com", "2606:4700::1111", "127.0.0.1.example.com"])
def test_public_addresses_are_not(host):
    assert not is_internal(host)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("http_proxy", "http://127.0.0.1:9"),
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
        ("NO_PROXY", "[::1],10.0.0.0/8"),
        ("HTTP_PROXY", "not a proxy"),
        ("SSL_CERT_FILE", "/no/such/file"),
    ],
)
def test_variables_do_not_reach_loopback(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert not has_proxy("http://127.0.0.1:8000")
    assert not has_proxy("http://[::1]:8000/")


@pytest.mark.parametrize(
    ("exceptions", "expected"),
    [
        ("", True),
        ("example.com", False),
        (".example.com", False),
        ("*.example.com", False),
        ("other.com,[::1],::1/128", True),
        ("api.example.com:80", False),
        ("api.example.com:81", True),
        ("api.example.com:8\u00b2", True),
        ("ample.com", True),
        ("*", False),
    ],
)
def test_public_addresses_use_the_proxy_unless_excepted(monkeypatch, exceptions, expected):
    monkeypatch.setenv("http_proxy", "127.0.0.1:9")
    monkeypatch.setenv("no_proxy", exceptions)
    assert has_proxy("http://api.example.com:80/") is expected


def test_ranges_of_public_addresses(monkeypatch):
    monkeypatch.setenv("http_proxy", "127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "8.8.0.0/16")
    assert not has_proxy("http://8.8.4.4/")
    assert has_proxy("http://9.9.9.9/")


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("https_proxy", "socks5://127.0.0.1:9", "socksio"),
        ("https_proxy", "ftp://127.0.0.1:9", "HTTPS_PROXY"),
        ("SSL_CERT_FILE", "/no/such/file", "SSL_CERT_FILE"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(monkeypatch, variable, value, named):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError) as error:
        make_client(httpx.Client, "https://example.com")
    assert named in str(error.value)
