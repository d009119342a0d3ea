"""A bucket that stops answering in the middle of a search, and comes back."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from lft_ray.records import TrialStatus
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.serve.cluster.environment import free_port
from tests.chaos.injectors import wait_for
from tests.chaos.search import experiment_of

pytestmark = [
    pytest.mark.stress,
    pytest.mark.cluster,
    pytest.mark.chaos,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(find_spec("moto") is None, reason="moto stands for the bucket"),
]
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def bucket(monkeypatch, tmp_path) -> Iterator["subprocess.Popen[bytes]"]:
    """A server of S3 on loopback with the bucket ``runs``; its address is in the environment."""
    import pyarrow.fs as pafs

    port = free_port("127.0.0.1")
    with (tmp_path / "moto.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)
    try:
        wait_for(lambda: _answers(port), timeout_s=90, what="the server answers")
        pafs.S3FileSystem(endpoint_override=address, allow_bucket_creation=True).create_dir("runs")
        yield server
    finally:
        server.send_signal(signal.SIGCONT)
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_bucket_that_is_silent_for_a_while_costs_no_trial(bucket, tmp_path, tiny_bert, row):
    experiment = experiment_of(tmp_path, tiny_bert, tmp_path / "unused", trials=3, epochs=30)
    text = experiment.read_text().replace(str(tmp_path / "unused"), "s3://runs/chaos")
    experiment.write_text(text)
    run = Storage("s3://runs/chaos/run")
    command = [sys.executable, "-m", "tests.chaos.search", str(experiment)]
    with row("bucket silent for 20 s in mid-search") as outcome:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(lambda: run.folders("trials"), timeout_s=300, every_s=1.0, what="a trial is started")
            bucket.send_signal(signal.SIGSTOP)
            time.sleep(20)
            bucket.send_signal(signal.SIGCONT)
            _, words = process.communicate(timeout=900)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            # It may have ended with the bucket's name, in time; then a resume goes on.
            assert process.returncode == 4, words
            assert "--resume" in words
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
            assert ended.returncode == 0, ended.stderr
        records = Ledger(run).records()
        outcome.survive(lost=sum(record.status is not TrialStatus.DONE for record in records))
    assert len(records) == 3
    assert outcome.lost == 0
    assert os.environ["AWS_ENDPOINT_URL"]
