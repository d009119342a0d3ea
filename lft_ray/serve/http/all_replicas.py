"""Metrics of all replicas as one scrape target. In: this replica's `Metrics`, a store that all share. Out: their text.

A scrape reaches one replica, chosen at random. Each replica therefore keeps a snapshot of its counters in the store,
and whichever is scraped adds them up: counters and histograms over all replicas that there were, so that they never
fall when one ends, and gauges over those that live. Knows no Ray.
"""

import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.samples import Sample
from pydantic import TypeAdapter, ValidationError

from lft_ray.serve.http.metrics import Metrics

__all__ = ["PUBLISH_S", "ReplicaMetrics", "Store", "added_up"]

logger = logging.getLogger("lft_ray.serve")

PUBLISH_S = 5.0
"""Seconds between two snapshots of a replica: the counters of the others in a scrape are at most this old."""
_ALIVE_S = 4 * PUBLISH_S
"""A replica whose snapshot is older has ended: its gauges no longer count."""
_KEPT_S = 7 * 86400.0
"""Snapshots of ended replicas are removed after this time."""
_Samples = list[tuple[str, dict[str, str], float]]
_Snapshot = tuple[float, list[tuple[str, str, str, _Samples]]]
"""When it was written, and of each family its name, help, kind and samples."""
_SNAPSHOT: TypeAdapter[_Snapshot] = TypeAdapter(_Snapshot)
_SUMMED = ("counter", "histogram")
_OWN_PREFIX = "process_"
"""Metrics of a process: a sum over replicas means nothing, so these have the label ``replica``."""


class Store(Protocol):
    """Values by name, shared by all replicas. May raise anything: metrics never fail a request."""

    def put(self, name: str, value: bytes) -> None:
        """Write a value."""

    def all(self) -> Mapping[str, bytes]:
        """All values."""

    def remove(self, name: str) -> None:
        """Remove a value."""


class ReplicaMetrics:
    """The text of ``/metrics`` for a replica among others.

    Args:
        own: metrics of this replica.
        name: name of this replica; unique among all that there ever were.
        store: where the replicas keep their snapshots.
    """

    def __init__(self, own: Metrics, name: str, store: Store) -> None:
        self._own, self._name, self._store = own, name, store

    def publish(self) -> None:
        """Write a snapshot of this replica."""
        self._store.put(self._name, _dump(self._own.collect(), time.time()))

    def publish_forever(self) -> None:
        """Publish every `PUBLISH_S` seconds, in a thread that ends with the process."""

        def work() -> None:
            while True:
                try:
                    self.publish()
                except Exception:  # the store is away: the next round tries again
                    logger.debug("the metrics could not be published", exc_info=True)
                time.sleep(PUBLISH_S)

        threading.Thread(target=work, name="lft-metrics", daemon=True).start()

    def text(self) -> bytes:
        """Metrics of all replicas in the Prometheus text format; of this one alone where the store is away."""
        try:
            self.publish()
            stored = dict(self._store.all())
            for name in _expired(stored):
                self._store.remove(name)
                del stored[name]
        except Exception:  # a scrape without the others is better than none
            logger.warning("/metrics has this replica only: the others cannot be read", exc_info=True)
            return self._own.text()
        return added_up(stored)


def added_up(snapshots: Mapping[str, bytes]) -> bytes:
    """Add up the snapshots of all replicas, by name; those that cannot be read are left out."""
    now = time.time()
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for replica, snapshot in sorted(snapshots.items()):
        found = _read(snapshot)
        if found is None:
            continue
        written_at, metrics = found
        is_alive = now - written_at < _ALIVE_S
        for name, help_text, kind, samples in metrics:
            if kind not in _SUMMED and not is_alive:
                continue
            if name.startswith(_OWN_PREFIX) and not is_alive:
                continue
            families.setdefault(name, Metric(name, help_text, kind))
            into = values.setdefault(name, {})
            for sample, labels, value in samples:
                own = {"replica": replica} if name.startswith(_OWN_PREFIX) else {}
                key = (sample, tuple({**labels, **own}.items()))
                # A model is served or not, however many replicas serve it.
                into[key] = max(into.get(key, 0.0), value) if name.endswith("_info") else into.get(key, 0.0) + value
    for name, family in families.items():
        family.samples = [Sample(sample, dict(labels), value) for (sample, labels), value in values[name].items()]
    registry = CollectorRegistry()
    registry.register(_Fixed(families.values()))
    return generate_latest(registry)


class _Fixed:
    """A collector of given families."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _dump(metrics: Iterable[Metric], written_at: float) -> bytes:
    rows = [
        (metric.name, metric.documentation, metric.type, [(s.name, s.labels, s.value) for s in metric.samples])
        for metric in metrics
    ]
    return json.dumps([written_at, rows]).encode()


def _expired(snapshots: Mapping[str, bytes]) -> list[str]:
    limit = time.time() - _KEPT_S
    found = {name: _read(snapshot) for name, snapshot in snapshots.items()}
    return [name for name, snapshot in found.items() if snapshot is not None and snapshot[0] < limit]


def _read(snapshot: bytes) -> _Snapshot | None:
    """A snapshot; None for one that is damaged, or of another version of this package."""
    try:
        return _SNAPSHOT.validate_json(snapshot)
    except ValidationError:
        return None
