"""The cluster guide's lines, all but ``ray up`` and ``ray down``, against a local cluster that scales from zero.

Nothing but a head without cores is up at first. The search is submitted as a job; the profiles make the autoscaler
start the serving node, the trials theirs; the winner is deployed to the same cluster and asked over HTTP.
"""

import csv
import json
import os
import re
import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.serve.cluster.environment import free_port
from tests.conftest import REPO

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

EXPERIMENT = """
name: line
data: {{train: {folder}/rows.csv, split: {{validation: 0.2, test: 0.2}}}}
models: [{{base: tfidf}}, {{base: {base}, layers: [1, 2]}}]
training: {{learning_rate: {{low: 1.0e-4, high: 1.0e-2}}, batch_size: [8], epochs: [1], max_length: 16,
           resources: {{cpu: 2}}}}
search: {{trials: 6, sampler: random}}
selection: {{confirmation_fraction: 0}}
storage: file://{folder}/runs
"""
TOPICS = {"sport": "the match was won in the last minute", "food": "the soup was hot and full of herbs"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Its address, its job server and a folder; with a token, as cluster.yaml starts it."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "token").write_text(secrets.token_hex(32), encoding="utf-8")
    dashboard = free_port()
    words = [sys.executable, "-m", "tests.local_cluster", str(dashboard), str(folder)]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO, env=environment(folder)
    )
    try:
        yield process.stdout.readline().strip(), f"http://127.0.0.1:{dashboard}", folder
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        left = [p for p in psutil.process_iter() if any(str(folder) in word for word in words_of(p))]
        assert not left, [words_of(p) for p in left]


def words_of(process):
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def environment(folder, **more):
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    return {**os.environ, "PYTHONPATH": str(REPO), **token, **more}


@pytest.fixture(scope="module")
def command(cluster):
    """Run a command line with the cluster's token."""

    def run(*words, **more):
        env = environment(cluster[2], **more)
        return subprocess.run(words, capture_output=True, text=True, timeout=600, env=env, check=False)

    return run


@pytest.fixture(scope="module")
def searched(cluster, command, tiny_bert):
    address, jobs, folder = cluster
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows((f"{text} {i}", label) for i in range(60) for label, text in TOPICS.items())
    (folder / "line.yaml").write_text(EXPERIMENT.format(folder=folder, base=tiny_bert), encoding="utf-8")
    line = ["-m", "lft_ray", "search", str(folder / "line.yaml"), "--set", f"cluster.address={address}"]
    job = command(
        str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", jobs, "--", sys.executable, *line
    )
    assert job.returncode == 0, job.stdout + job.stderr
    said = job.stdout + job.stderr
    assert "no running node can hold a trial (1 x (2 CPU, 0 GPU))" in said
    assert "waiting for the autoscaler to start a node (serve)" in said
    return folder


NODES = """
import json, ray, sys
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(json.dumps([node["Resources"] for node in ray.nodes() if node["Alive"]]))
"""


def test_trials_and_profiles_ran_on_nodes_that_were_started_for_them(cluster, command, searched):
    records = Ledger(Storage(searched / "runs" / "line")).records()
    assert [record.status for record in records] == ["done"] * 6
    listed = command(sys.executable, "-c", NODES, cluster[0])
    assert listed.returncode == 0, listed.stderr
    up = json.loads(listed.stdout)
    # A trial asks for two cores, which neither the head nor the serving node has; idle nodes stay for five minutes.
    assert sorted(node.get("CPU", 0) for node in up) in ([0, 1, 2], [0, 1, 2, 2])
    assert [node["CPU"] for node in up if "lft_serve" in node] == [1]


def test_the_profiles_were_measured(searched):
    book = json.loads((searched / "runs" / "line" / "profiles.json").read_text())
    assert len(book["profiles"]) == 3
    assert all(profile["core_s_per_text"] > 0 for profile in book["profiles"])


def test_deploy_to_the_same_cluster_answers_and_goes_down(cluster, command, searched):
    address, _, _ = cluster
    run = searched / "runs" / "line"
    port = free_port()
    words = ["--address", address, "--set", f"serve.port={port}", "--set", "serve.host=0.0.0.0", "--json"]
    deploy = (sys.executable, "-m", "lft_ray", "deploy", str(run), *words)
    open_to_all = command(*deploy)
    assert open_to_all.returncode == 2, open_to_all.stderr
    assert "LFT_API_KEYS" in open_to_all.stderr
    deployed = command(*deploy, LFT_API_KEYS="s3cret")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    url = f"http://127.0.0.1:{port}/"
    assert httpx.post(url, json={"inputs": "x"}, timeout=30).status_code == 401
    headers = {"Authorization": "Bearer s3cret"}
    answer = httpx.post(url, json={"inputs": "the soup was hot"}, headers=headers, timeout=30)
    assert answer.status_code == 200
    assert {score["label"] for score in answer.json()[0]} == set(TOPICS)
    down = command(sys.executable, "-m", "lft_ray", "down", str(run))
    assert down.returncode == 0, down.stderr
    assert "stopped" in down.stderr


def test_local_storage_is_refused_with_several_nodes(cluster, command, searched):
    address, _, folder = cluster
    line = [str(folder / "line.yaml"), "--set", f"cluster.address={address}", "--set", f"storage={folder}/plain"]
    refused = command(sys.executable, "-m", "lft_ray", "search", *line)
    assert refused.returncode == 2, refused.stderr
    assert re.search(r"local path, but the cluster (may have|has) 4 nodes", refused.stderr.replace("\n", " "))
