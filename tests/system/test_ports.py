import socket

from lft_ray.system.ports import free_ports, server_ports


def test_a_port_in_use_is_not_offered():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_ports([port]) == []
    assert free_ports([port]) == [port]


def test_ports_of_servers_lie_below_those_of_connections():
    found = server_ports(4)
    assert len(set(found)) == 4
    assert all(20000 <= port < 30000 for port in found)
