import random
import subprocess

import pytest

from lft_ray.config import ServeSpec
from lft_ray.serve.cluster.deployment import autoscaling
from lft_ray.serve.cluster.environment import haproxy_binary, serving_environment
from lft_ray.serve.endpoint.record import make_folder

needs_haproxy = pytest.mark.skipif(haproxy_binary() is None, reason="ray[serve] brings no HAProxy on this platform")

# The lines of Ray's own template that the launcher corrects.
CONFIG = """global
    log 127.0.0.1:514 local0 info
defaults
    mode http
    timeout client 120s
frontend prometheus
    bind :{metrics}
    mode http
    http-request use-service prometheus-exporter if {{ path /metrics }}
frontend http_frontend
    bind 127.0.0.1:{port}
    mode http
listen stats
  bind *:{stats}
  mode http
  stats enable
"""


@pytest.fixture
def folder():
    made = make_folder()
    yield made
    subprocess.run(["rm", "-r", str(made)], check=True)


@needs_haproxy
def test_two_endpoints_share_no_port_and_no_path(folder):
    random.seed(1)  # nobody listens on the ports of the first, so chance might draw one twice
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    one, two = serving_environment(folder / "a"), serving_environment(folder / "b")
    own = [name for name in one if name.endswith(("_PORT", "_PATH", "_LOC", "_FILE", "_BASE")) and "MAX_" not in name]
    assert len(own) >= 10
    for name in own:
        assert one[name] != two[name], name


@needs_haproxy
def test_a_path_too_long_for_sockets_is_refused(tmp_path):
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    with pytest.raises(ValueError, match="too long"):
        serving_environment(deep)


@needs_haproxy
def test_the_launcher_closes_haproxys_own_ports_and_the_result_is_a_valid_configuration(folder):
    variables = serving_environment(folder)
    metrics, stats = variables["RAY_SERVE_HAPROXY_METRICS_PORT"], variables["RAY_SERVE_HAPROXY_STATS_PORT"]
    config = folder / "sub" / "haproxy.cfg"
    config.parent.mkdir()
    config.write_text(CONFIG.format(metrics=metrics, stats=stats, port=8000))
    launcher = variables["RAY_SERVE_HAPROXY_BINARY_PATH"]
    # -c: check the configuration and leave.
    done = subprocess.run([launcher, "-db", "-f", str(config), "-c"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = config.read_text()
    assert f"bind 127.0.0.1:{metrics}\n" in written
    assert f"bind 127.0.0.1:{stats}\n" in written
    assert "timeout http-request 30s" in written
    assert "del-header x-request-id unless { req.hdr(x-request-id) -m reg ^[A-Za-z0-9._:-]{1,128}$ }" in written
    assert f"errorfile 503 {folder}/503.http\n" in written
    assert (folder / "503.http").read_text().startswith("HTTP/1.1 503")


def test_folders_are_private_and_short(folder):
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(folder)) <= 36


def test_autoscaling_looks_back_over_more_than_one_push():
    from ray.serve.config import DEFAULT_METRICS_INTERVAL_S

    assert autoscaling(ServeSpec())["look_back_period_s"] > DEFAULT_METRICS_INTERVAL_S


@needs_haproxy
def test_ports_of_haproxy_are_below_those_that_connections_take_at_random(folder):
    variables = serving_environment(folder)
    names = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT")
    ports = [int(variables[name]) for name in names]
    assert len(set(ports)) == len(ports)
    assert max(ports) < 32768
