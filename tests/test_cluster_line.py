"""The README's cluster lines, all but ``ray up`` and ``ray down``, against a local cluster of three nodes.

A head without cores, two workers; the search is submitted as a job, trials land on both workers, the winner is deployed
to the same cluster and asked over HTTP.
"""

import csv
import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from lft_ray.ledger import Ledger
from lft_ray.serve.environment import free_port
from lft_ray.storage import Storage

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(420)]

REPO = Path(__file__).resolve().parent.parent
EXPERIMENT = """
name: line
data: {{train: {folder}/rows.csv, split: {{validation: 0.2, test: 0.2}}}}
models: [{{base: tfidf}}, {{base: {base}, layers: [1, 2]}}]
training: {{learning_rate: {{low: 1.0e-4, high: 1.0e-2}}, batch_size: [8], epochs: [1], max_length: 16}}
search: {{trials: 6, sampler: random}}
selection: {{confirm_share: 0}}
storage: file://{folder}/runs
"""
TOPICS = {"sport": "the match was won in the last minute", "food": "the soup was hot and full of herbs"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Its address, its job server and a folder; with a token, as cluster.yaml starts it."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "token").write_text(secrets.token_hex(32), encoding="utf-8")
    dashboard = free_port()
    words = [sys.executable, "-m", "tests.local_cluster", str(dashboard)]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO, env=environment(folder)
    )
    try:
        yield process.stdout.readline().strip(), f"http://127.0.0.1:{dashboard}", folder
    finally:
        process.stdin.close()
        process.wait(timeout=60)


def environment(folder, **more):
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    return {**os.environ, "PYTHONPATH": str(REPO), **token, **more}


@pytest.fixture(scope="module")
def command(cluster):
    """Run a command line with the cluster's token."""

    def run(*words, **more):
        env = environment(cluster[2], **more)
        return subprocess.run(words, capture_output=True, text=True, timeout=300, env=env, check=False)

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
    return folder


def test_trials_land_on_both_workers(searched):
    records = Ledger(Storage(searched / "runs" / "line")).records()
    assert [record.status for record in records] == ["done"] * 6
    assert len({record.node for record in records}) == 2


def test_the_profiles_were_measured_on_a_serving_node(searched):
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
    assert re.search(r"local path .*3 nodes", refused.stderr.replace("\n", " "))
