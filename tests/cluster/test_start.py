"""Ray's start under load: more time than Ray gives, ports for its agents, no helpers that nobody reads."""

import inspect
from types import SimpleNamespace

import pytest
from ray._private import services
from ray._private.node import Node
from ray._raylet import wait_for_persisted_port  # type: ignore[attr-defined]

from lft_ray.cluster import start
from lft_ray.cluster.start import starting_ray


@pytest.fixture
def node(monkeypatch, tmp_path):
    """A node that notes what is started instead of starting it."""
    started = []
    for name in ("start_monitor", "start_log_monitor", "start_api_server", "start_raylet"):
        monkeypatch.setattr(Node, name, lambda self, name=name, **_: started.append(name))
    found = object.__new__(Node)
    found.started = started
    found._ray_params = SimpleNamespace(update=lambda **given: started.append(given))
    found._session_dir, found._node_id = str(tmp_path), "n" * 56
    return found


@pytest.mark.parametrize(("wanted", "helpers"), [(False, []), (True, ["start_api_server"])])
def test_only_what_is_used_is_started(node, wanted, helpers):
    before = Node.start_monitor
    with starting_ray(with_dashboard=wanted):
        for name in ("start_monitor", "start_log_monitor", "start_api_server"):
            getattr(node, name)()
    assert node.started == helpers
    assert Node.start_monitor is before


def test_agents_get_ports_of_their_own(node):
    with starting_ray():
        node.start_raylet()
    ports, name = node.started
    assert len(set(ports.values())) == 4
    assert {"metrics_agent_port", "dashboard_agent_listen_port", "runtime_env_agent_port"} < set(ports)
    assert name == "start_raylet"
    # The raylet waits 15 s for these, which agents without a core of their own do not write in time.
    assert {name: wait_for_persisted_port(node._session_dir, node._node_id, name, 0) for name in ports} == ports


def test_a_raylet_that_registers_late_is_waited_for(monkeypatch):
    answers = [RuntimeError("no node"), RuntimeError("no node"), {"node": 1}]

    def get_node(*_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(services, "get_node", get_node)
    with starting_ray():
        assert services.get_node("gcs", "id") == {"node": 1}
    assert services.get_node is get_node


def test_a_raylet_that_never_registers_is_given_up(monkeypatch):
    def get_node(*_):
        raise RuntimeError("no node")

    monkeypatch.setattr(services, "get_node", get_node)
    monkeypatch.setattr(start, "RAYLET_S", 0.2)
    with starting_ray(), pytest.raises(RuntimeError, match="no node"):
        services.get_node("gcs", "id")


def test_a_raylet_that_died_is_not_waited_for(node, monkeypatch):
    def get_node(*_):
        raise RuntimeError("no node")

    monkeypatch.setattr(services, "get_node", get_node)
    monkeypatch.setattr(Node, "dead_processes", lambda self: [("raylet", object())])
    with starting_ray():
        node.start_raylet()
        with pytest.raises(start.RayletDiedError, match=start.START_TIMEOUT_WORDS):
            services.get_node("gcs", "id")


def test_no_worker_is_started_before_it_is_wanted(monkeypatch):
    """A driver whose raylet starts workers first hangs for good if they do not register in time."""
    started = []

    def start_ray_process(command, kind, *, fate_share):
        started.append((command, kind, fate_share))

    monkeypatch.setattr(services, "start_ray_process", start_ray_process)
    with starting_ray():
        services.start_ray_process(["raylet", "--num_prestart_python_workers=2", "--head"], "raylet", fate_share=True)
    assert started == [(["raylet", "--num_prestart_python_workers=0", "--head"], "raylet", True)]
    assert services.start_ray_process is start_ray_process


def test_ray_still_calls_what_is_replaced():
    """Of the Ray that is installed: an argument by another name would be let through, and the hang would be back."""
    source = inspect.getsource(services.start_raylet)
    assert '"--num_prestart_python_workers={}"' in source
    assert "start_ray_process(\n        command," in source
