"""cluster.yaml: accepted by Ray's own validation, and safe by what it says."""

from pathlib import Path

import pytest
import yaml

CLUSTER = Path(__file__).resolve().parent.parent / "cluster.yaml"


@pytest.fixture(scope="module")
def cluster():
    return yaml.safe_load(CLUSTER.read_text(encoding="utf-8"))


def test_ray_accepts_it(cluster):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster)
    validate_config(prepared)
    assert prepared["available_node_types"]["head"]["max_workers"] == 0


def test_the_head_runs_no_trials_and_replicas_have_their_own_nodes(cluster):
    types = cluster["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    assert types["trial"]["min_workers"] == 0
    assert types["trial"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "lft_serve" in types["serve"]["resources"]
    assert all("lft_serve" not in types[name]["resources"] for name in ("head", "trial"))


@pytest.mark.parametrize("commands", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_every_start_asks_for_tokens(cluster, commands):
    starts = [command for command in cluster[commands] if "ray start" in command]
    assert starts
    assert all("RAY_AUTH_MODE=token" in command for command in starts)


def test_the_dashboard_stays_on_loopback(cluster):
    (start,) = [command for command in cluster["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in start


def test_it_installs_from_the_lock(cluster):
    assert any("-c ~/lft_ray/constraints.txt" in command for command in cluster["setup_commands"])
    assert cluster["idle_timeout_minutes"] > 0
