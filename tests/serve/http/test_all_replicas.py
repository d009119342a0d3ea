import json
import time

import pytest

from lft_ray.serve.http.all_replicas import ReplicaMetrics, added_up
from lft_ray.serve.http.metrics import Metrics
from tests.serve.conftest import make_predictor


class Shared(dict):
    """A store in memory."""

    put = dict.__setitem__
    remove = dict.__delitem__

    def all(self):
        return self


def replica(name: str, store: Shared, requests: int, queued: int = 1) -> ReplicaMetrics:
    own = Metrics(lambda: queued, lambda: make_predictor().info)
    for _ in range(requests):
        own.count("hf", 200, 0.004, texts=2)
    own.observe_batch(4, 0.01)
    return ReplicaMetrics(own, name, store)


def value(text: bytes, series: str) -> float:
    [line] = [line for line in text.decode().splitlines() if line.startswith(f"{series} ")]
    return float(line.rpartition(" ")[2])


def ended(store: Shared, name: str, ago_s: float) -> None:
    _, rows = json.loads(store[name])
    store[name] = json.dumps([time.time() - ago_s, rows]).encode()


def test_every_replica_gives_the_sum_of_all():
    store = Shared()
    one, two = replica("one", store, 3), replica("two", store, 5, queued=7)
    one.publish()
    two.publish()
    for text in (one.text(), two.text()):
        assert value(text, 'lft_requests_total{protocol="hf",status="200"}') == 8
        assert value(text, 'lft_texts_total{protocol="hf"}') == 16
        assert value(text, 'lft_request_seconds_bucket{le="0.005",protocol="hf",status="200"}') == 8
        assert value(text, "lft_batch_texts_sum") == 8
        assert value(text, "lft_queued_texts") == 8
        assert value(text, 'lft_model_info{model="minilm:1",version="abc123abc123"}') == 1
        assert text.count(b"# TYPE lft_requests_total counter") == 1


def test_counters_never_fall_when_a_replica_ends_and_its_gauges_leave():
    store = Shared()
    one, two = replica("one", store, 3), replica("two", store, 5, queued=7)
    two.publish()
    ended(store, "two", 3600)
    text = one.text()
    assert value(text, 'lft_requests_total{protocol="hf",status="200"}') == 8
    assert value(text, "lft_queued_texts") == 1
    assert b'replica="two"' not in text
    ended(store, "two", 30 * 86400)
    assert value(one.text(), 'lft_requests_total{protocol="hf",status="200"}') == 3
    assert set(store) == {"one"}


def test_without_the_store_a_replica_gives_its_own():
    class Gone(Shared):
        def all(self):
            raise RuntimeError("the store is away")

    text = replica("one", Gone(), 3).text()
    assert value(text, 'lft_requests_total{protocol="hf",status="200"}') == 3


UNREADABLE = [
    b"",
    b"{",
    b"\xff",
    b"null",
    b"[]",
    b'["x", []]',
    b"[1, null]",
    b'[1, [["a", "h"]]]',
    b'[1, [["a", "h", "counter", 1]]]',
]


@pytest.mark.parametrize("snapshot", UNREADABLE)
def test_a_snapshot_that_cannot_be_read_is_left_out(snapshot):
    assert added_up({"one": snapshot}).strip() == b""
    store = Shared(broken=snapshot)
    replica("other", store, 5).publish()
    text = replica("one", store, 3).text()
    assert value(text, 'lft_requests_total{protocol="hf",status="200"}') == 8, "the others still count"
