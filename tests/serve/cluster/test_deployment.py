"""Replicas come with the load and go after it, down to none, and no request is lost on the way."""

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx
import psutil
import pytest

from lft_ray.config import ServeSpec
from lft_ray.config.serving import AutoscalingSpec
from lft_ray.serve.cluster.deployment import autoscaling
from lft_ray.serve.endpoint.deploy import deploy, down
from lft_ray.serve.loadgen import closed_loop, open_loop, text_bodies

QUICK = AutoscalingSpec(
    min_replicas=0,
    max_replicas=2,
    target_ongoing_requests=2,
    look_back_s=6,
    upscale_delay_s=1,
    downscale_delay_s=3,
)


def replicas(pid: int) -> int:
    count = 0
    for process in psutil.Process(pid).children(recursive=True):
        try:
            # A replica that waits to be reaped runs no more.
            alive = process.status() != psutil.STATUS_ZOMBIE
            count += alive and any("ServeReplica" in part for part in process.cmdline())
        except psutil.Error:
            continue
    return count


class Traffic:
    """Sends in a thread until it is left: many connections at once, or a few requests a second."""

    def __init__(self, url: str, *, connections: int = 0, requests_per_s: float = 0.0) -> None:
        self.url, self.connections, self.requests_per_s = url, connections, requests_per_s
        self.statuses: Counter[int] = Counter()
        self._left = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send()))

    async def _send(self) -> None:
        bodies = text_bodies(["the bank makes profit", "a distant planet"])
        while not self._left.is_set():
            if self.connections:
                result = await closed_loop(self.url, bodies, connections=self.connections, seconds=1.0)
            else:
                result = await open_loop(self.url, bodies, requests_per_s=self.requests_per_s, seconds=1.0)
            self.statuses.update(result.statuses)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()


def wait(is_so: Callable[[], bool], *, seconds: float) -> float:
    begun = time.monotonic()
    while not is_so():
        assert time.monotonic() - begun < seconds
        time.sleep(0.25)
    return time.monotonic() - begun


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two replicas need two cores")
def test_replicas_follow_the_load_and_no_request_is_lost(bundles, tmp_path):
    live = deploy(tmp_path, bundles["first"], ServeSpec(port=0, autoscaling=QUICK), wait_s=200)
    try:
        with Traffic(live.url, connections=16) as heavy:
            up_s = wait(lambda: replicas(live.pid) == 2, seconds=90)
            time.sleep(2.0)  # with both of them taking part
        with Traffic(live.url, requests_per_s=5.0) as light:
            down_s = wait(lambda: replicas(live.pid) <= 1, seconds=90)
        zero_s = wait(lambda: replicas(live.pid) == 0, seconds=90)
        begun = time.monotonic()
        first = httpx.post(live.url, json={"inputs": "the bank makes profit"}, timeout=90)
        cold_s = time.monotonic() - begun
    finally:
        down(tmp_path)
    print(f"up after {up_s:.0f} s, down after {down_s:.0f} s, none after {zero_s:.0f} s, cold start {cold_s:.1f} s")
    assert set(heavy.statuses) == {200}, heavy.statuses
    assert set(light.statuses) == {200}, light.statuses
    assert first.status_code == 200


def test_autoscaling_maps_the_configuration_to_serves_options():
    found = autoscaling(ServeSpec(autoscaling=QUICK))
    assert found == {
        "min_replicas": 0, "max_replicas": 2, "target_ongoing_requests": 2.0, "look_back_period_s": 6.0,
        "upscale_delay_s": 1.0, "downscale_delay_s": 3.0,
    }  # fmt: skip
