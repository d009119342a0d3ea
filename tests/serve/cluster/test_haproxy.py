import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lft_ray.serve.cluster import haproxy
from lft_ray.serve.endpoint.record import make_folder

# The columns of HAProxy's statistics that are read, with a frontend, two backends and their servers.
STATISTICS = """# pxname,svname,scur,type,status,act,addr
http_frontend,FRONTEND,3,0,OPEN,,
stats,FRONTEND,1,0,OPEN,,
default,BACKEND,2,1,UP,2,
stats,BACKEND,1,1,UP,0,
other,BACKEND,,1,UP,1,
default,r1,1,2,UP,1,127.0.0.1:20000
default,r2,1,2,DOWN,1,127.0.0.1:20001
default,r3,0,2,UP,0,127.0.0.1:20002
lft-probe,r1,0,2,UP,1,127.0.0.1:20000
default,SERVE_PROXY_ACTOR-1,0,2,UP,1,127.0.0.1:9
"""


@contextmanager
def admin_socket(path: Path, reply: str) -> Iterator[list[str]]:
    """A unix socket that replies to one command and closes, as HAProxy does."""
    commands = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                commands.append(connection.recv(1000).decode())
                connection.sendall(reply.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        yield commands
        thread.join()


@pytest.fixture
def path():
    folder = make_folder()  # pytest's own folders are too long for a socket
    yield folder / "admin.sock"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def test_routed_servers_are_up_and_active_and_no_fallback(path):
    with admin_socket(path, STATISTICS) as commands:
        assert haproxy.routed_servers(path) == ["127.0.0.1:20000"]
    assert commands == ["show stat\n"]


def test_requests_in_flight_are_those_of_the_backends_without_the_stats_page(path):
    with admin_socket(path, STATISTICS):
        assert haproxy.requests_in_flight(path) == 2


def test_stop_accepting_disables_both_frontends_and_closes_their_connections(path):
    with admin_socket(path, "\n") as commands:
        haproxy.stop_accepting(path)
    names = ("http_frontend", "grpc_frontend")
    assert commands == ["; ".join(f"{word} frontend {n}" for n in names for word in ("disable", "shutdown")) + "\n"]


def test_open_connections_are_those_of_clients(path):
    with admin_socket(path, "Name: HAProxy\nCurrConns: 3\nMaxConn: 10\n"):
        assert haproxy.open_connections(path) == 3


def test_a_missing_haproxy_has_no_servers_and_no_requests(path):
    assert haproxy.routed_servers(path) == []
    assert haproxy.requests_in_flight(path) == 0
    assert haproxy.open_connections(path) == 0
    haproxy.stop_accepting(path)


def test_admin_sockets_are_found_one_per_node(tmp_path):
    for node in ("b", "a"):
        (tmp_path / node).mkdir()
        (tmp_path / node / "admin.sock").touch()
    assert [found.parent.name for found in haproxy.admin_sockets(tmp_path)] == ["a", "b"]
