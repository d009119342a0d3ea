"""How a cluster for serving starts."""

from types import SimpleNamespace

import pytest

from lft_ray.serve.cluster.start import announce_agent_ports


class Parameters(SimpleNamespace):
    def update(self, **changes: int) -> None:
        self.__dict__.update(changes)


def test_the_raylet_knows_the_ports_of_its_agents_before_they_have_imported_anything(tmp_path):
    node = SimpleNamespace(_ray_params=Parameters(), get_session_dir_path=lambda: str(tmp_path), node_id="ab" * 28)
    announce_agent_ports(node)
    chosen = vars(node._ray_params)
    written = {path.name.removesuffix(f"_{node.node_id}"): int(path.read_text()) for path in tmp_path.iterdir()}
    assert written == chosen
    assert len(set(chosen.values())) == 4


@pytest.mark.parametrize("method", ["get_session_dir_path", "node_id", "start_raylet"])
def test_what_is_used_of_rays_node_exists(method):
    from ray._private.node import Node

    assert hasattr(Node, method)
