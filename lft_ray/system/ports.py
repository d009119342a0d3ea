"""Ports for servers that take seconds to start. In: how many. Out: free ports. Never reserves one."""

import random
import socket
from collections.abc import Sequence

__all__ = ["CANDIDATES", "candidate_ports", "free_ports", "server_ports"]

_PORTS = range(20000, 30000)
"""Every connection of the machine, Ray's many among them, takes a port at random from the kernel's range, which begins
at 32768: seconds pass before a server listens, and a port from there may be taken by then. Kubernetes gives 30000 and
above to services. Two endpoints that start at once drew the same one of 2,000."""
CANDIDATES = 40
"""Ports that are looked at, to find so many free ones."""


def server_ports(count: int) -> list[int]:
    """Free ports below those that the kernel gives to connections."""
    return free_ports(candidate_ports())[:count]


def candidate_ports() -> list[int]:
    """Ports in random order, some of which may be taken."""
    return random.sample(_PORTS, k=CANDIDATES)


def free_ports(candidates: Sequence[int]) -> list[int]:
    """Those ports that are free on this machine at the moment, on every interface."""
    return [port for port in candidates if _can_listen(port)]


def _can_listen(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError:
            return False
    return True
