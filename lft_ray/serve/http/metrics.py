"""What an endpoint counts about itself, for Prometheus. In: finished exchanges. Out: the text of ``/metrics``.

Labels are from fixed sets: protocols, statuses, the model's own name and version. Nothing of a request stands in them.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from lft_ray.wire import Info

__all__ = ["MEDIA_TYPE", "Metrics"]

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one replica.

    Args:
        queued: texts that wait now.
        info: the model that answers now; None: none does.
    """

    def __init__(self, queued: Callable[[], int], info: Callable[[], Info | None]) -> None:
        self._registry = CollectorRegistry()
        names = ("protocol", "status")
        self._requests = Counter("lft_requests", "Requests answered.", names, registry=self._registry)
        self._seconds = Histogram(
            "lft_request_seconds",
            "From the first byte of a request to its answer.",
            ("protocol",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._texts = Counter("lft_texts", "Texts answered.", ("protocol",), registry=self._registry)
        self._cut = Counter("lft_truncated_texts", "Texts whose end was cut off.", registry=self._registry)
        waiting = Gauge("lft_queued_texts", "Texts that wait for the model.", registry=self._registry)
        waiting.set_function(queued)
        self._model = Gauge(
            "lft_model_info", "1 for the model that answers.", ("model", "version"), registry=self._registry
        )
        self._info = info
        ProcessCollector(registry=self._registry)
        # Looking a child up by its labels takes as long as counting does.
        self._known: dict[tuple[str, int], Counter] = {}
        self._known_seconds: dict[str, tuple[Histogram, Counter]] = {}

    def count(self, protocol: str, status: int, seconds: float, *, texts: int = 0, cut: int = 0) -> None:
        """Count one exchange."""
        requests = self._known.get((protocol, status))
        if requests is None:
            requests = self._known[protocol, status] = self._requests.labels(protocol, str(status))
        requests.inc()
        found = self._known_seconds.get(protocol)
        if found is None:
            found = self._known_seconds[protocol] = (self._seconds.labels(protocol), self._texts.labels(protocol))
        found[0].observe(seconds)
        if texts:
            found[1].inc(texts)
        if cut:
            self._cut.inc(cut)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        self._model.clear()
        info = self._info()
        if info is not None:
            self._model.labels(info.model, info.version).set(1)
        return generate_latest(self._registry)
