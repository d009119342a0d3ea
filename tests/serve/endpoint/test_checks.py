import os
import socket

import pytest

from lft_ray.config import ServeSpec
from lft_ray.errors import BundleError, InputError
from lft_ray.serve.endpoint.checks import check_address, check_bundle, check_hardware


def test_check_bundle_returns_the_version(bundles):
    assert check_bundle(bundles["first"].uri) == bundles["first"].version


def test_check_bundle_refuses_what_is_no_bundle(tmp_path):
    with pytest.raises(InputError, match="there is no bundle at"):
        check_bundle(str(tmp_path / "none"))
    with pytest.raises(BundleError):
        check_bundle(str(tmp_path))


@pytest.mark.parametrize("keys", ["", " , "])
def test_a_public_address_without_keys_is_refused(monkeypatch, keys):
    monkeypatch.setenv("LFT_API_KEYS", keys)
    with pytest.raises(InputError, match="there are no API keys") as raised:
        check_address(ServeSpec(host="0.0.0.0", port=0))
    assert "LFT_API_KEYS=key1,key2" in raised.value.fix
    check_address(ServeSpec(host="127.0.0.1", port=0))


@pytest.mark.parametrize("host", ["::1", "::", "fe80::1"])
def test_ipv6_is_refused_in_words(host):
    with pytest.raises(InputError, match="IPv6") as raised:
        check_address(ServeSpec(host=host, port=0))
    assert "serve.host=127.0.0.1" in raised.value.fix


def test_a_public_address_with_keys_is_accepted(monkeypatch):
    monkeypatch.setenv("LFT_API_KEYS", "secret")
    check_address(ServeSpec(host="0.0.0.0", port=0))


@pytest.mark.parametrize("name", ["port", "grpc_port"])
def test_a_port_in_use_is_refused_with_its_setting(name):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = {"port": 0, "grpc_port": 0} | {name: other.getsockname()[1]}
        with pytest.raises(InputError, match="cannot listen on 127") as raised:
            check_address(ServeSpec(**ports))
    assert f"--set serve.{name}=0" in raised.value.fix


def test_cores_beyond_the_affinity_of_this_process_are_refused(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    check_hardware(ServeSpec(cpus_per_replica=1))
    with pytest.raises(InputError, match="the 1 cores of this machine"):
        check_hardware(ServeSpec(cpus_per_replica=2))
