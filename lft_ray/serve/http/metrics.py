"""Prometheus metrics of one replica. In: finished requests and batches. Out: the text of ``/metrics``.

Label values come from fixed sets: protocols, statuses, the model's name and version. They never contain request data.
"""

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from lft_ray.wire import Info

__all__ = ["MEDIA_TYPE", "Metrics"]

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BUCKETS_TEXTS = (1, 2, 4, 8, 16, 32, 64)

# A third of the lines otherwise: the time at which each series began, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one replica.

    Args:
        queued: returns the number of texts in the queue.
        info: returns the description of the current model, or None before one is ready.
    """

    def __init__(self, queued: Callable[[], int], info: Callable[[], Info | None]) -> None:
        self._registry = CollectorRegistry()
        names = ("protocol", "status")
        self._requests = Counter(
            "lft_requests", "Requests completed, refused ones included.", names, registry=self._registry
        )
        self._seconds = Histogram(
            "lft_request_seconds",
            "Time from receiving a request to sending its response, in seconds.",
            names,
            registry=self._registry,
            buckets=_BUCKETS_S,
        )
        self._texts = Counter(
            "lft_texts", "Texts classified or questions answered.", ("protocol",), registry=self._registry
        )
        self._truncated = Counter(
            "lft_truncated_texts", "Texts truncated to the model's maximum length.", registry=self._registry
        )
        self._batches = Histogram(
            "lft_batch_texts", "Texts per batch of the model.", registry=self._registry, buckets=_BUCKETS_TEXTS
        )
        self._waits = Histogram(
            "lft_queue_seconds",
            "Time that the oldest text of a batch waited until the batch started, tokenising included, in seconds.",
            registry=self._registry,
            buckets=_BUCKETS_S,
        )
        waiting = Gauge("lft_queued_texts", "Texts waiting in the queue.", registry=self._registry)
        waiting.set_function(queued)
        self._model = Gauge(
            "lft_model_info", "1 for the model being served.", ("model", "version"), registry=self._registry
        )
        self._info = info
        ProcessCollector(registry=self._registry)
        # Cached children: looking one up by its labels takes as long as counting does.
        self._request_metrics: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def count(self, protocol: str, status: int | str, seconds: float, *, texts: int = 0, truncated: int = 0) -> None:
        """Record one finished request.

        Args:
            protocol: name of the protocol.
            status: HTTP status of the response, or the name of the gRPC status.
            seconds: time from receiving the request to sending its response.
            texts: number of texts classified.
            truncated: number of these texts that were truncated.
        """
        key = (protocol, str(status))
        metrics = self._request_metrics.get(key)
        if metrics is None:
            metrics = self._request_metrics[key] = (self._requests.labels(*key), self._seconds.labels(*key))
        requests, latency = metrics
        requests.inc()
        latency.observe(seconds)
        if texts:
            self._texts.labels(protocol).inc(texts)
        if truncated:
            self._truncated.inc(truncated)

    def observe_batch(self, texts: int, waited_s: float) -> None:
        """Record one batch of the model. Called from its worker threads.

        Args:
            texts: number of texts.
            waited_s: seconds that its oldest text waited.
        """
        self._batches.observe(texts)
        self._waits.observe(waited_s)

    def collect(self) -> Iterable[Metric]:
        """All metrics as values."""
        self._model.clear()  # a promotion must not leave the old version behind as a second series
        info = self._info()
        if info is not None:
            self._model.labels(info.model, info.version).set(1)
        return self._registry.collect()

    def text(self) -> bytes:
        """All metrics of this replica in the Prometheus text format."""
        self.collect()
        return generate_latest(self._registry)
