"""Prometheus metrics of one replica. In: finished requests. Out: the text of ``/metrics``.

Label values come from fixed sets: protocols, statuses, the model's name and version. They never contain request data.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from lft_ray.wire import Info

__all__ = ["MEDIA_TYPE", "Metrics"]

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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
            "lft_requests", "Requests completed, by protocol and HTTP status.", names, registry=self._registry
        )
        self._seconds = Histogram(
            "lft_request_seconds",
            "Time from receiving a request to sending its response, in seconds.",
            ("protocol",),
            registry=self._registry,
            buckets=_BUCKETS_S,
        )
        self._texts = Counter("lft_texts", "Texts classified.", ("protocol",), registry=self._registry)
        self._truncated = Counter(
            "lft_truncated_texts", "Texts truncated to the model's maximum length.", registry=self._registry
        )
        waiting = Gauge("lft_queued_texts", "Texts waiting in the queue.", registry=self._registry)
        waiting.set_function(queued)
        self._model = Gauge(
            "lft_model_info", "1 for the model being served.", ("model", "version"), registry=self._registry
        )
        self._info = info
        ProcessCollector(registry=self._registry)
        # Cached children: looking one up by its labels takes as long as counting does.
        self._request_counters: dict[tuple[str, int], Counter] = {}
        self._protocol_metrics: dict[str, tuple[Histogram, Counter]] = {}

    def count(self, protocol: str, status: int, seconds: float, *, texts: int = 0, truncated: int = 0) -> None:
        """Record one finished request.

        Args:
            protocol: name of the protocol.
            status: HTTP status of the response.
            seconds: time from receiving the request to sending its response.
            texts: number of texts classified.
            truncated: number of these texts that were truncated.
        """
        requests = self._request_counters.get((protocol, status))
        if requests is None:
            requests = self._request_counters[protocol, status] = self._requests.labels(protocol, str(status))
        requests.inc()
        metrics = self._protocol_metrics.get(protocol)
        if metrics is None:
            metrics = self._protocol_metrics[protocol] = (self._seconds.labels(protocol), self._texts.labels(protocol))
        latency, texts_total = metrics
        latency.observe(seconds)
        if texts:
            texts_total.inc(texts)
        if truncated:
            self._truncated.inc(truncated)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        self._model.clear()  # a promotion must not leave the old version behind as a second series
        info = self._info()
        if info is not None:
            self._model.labels(info.model, info.version).set(1)
        return generate_latest(self._registry)
