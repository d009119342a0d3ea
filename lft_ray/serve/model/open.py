"""Open a bundle or a cascade for serving. In: its folder or URI, and the replica's threads. Out: a verified `Model`."""

from lft_ray.engines.batching import BatchObserver
from lft_ray.errors import BundleError
from lft_ray.export.bundle import OpenedBundle, open_bundle
from lft_ray.export.cascade import is_cascade, open_cascade
from lft_ray.export.signature import verify_signature
from lft_ray.run.storage import Storage
from lft_ray.serve.model.base import Model, ReplicaThreads
from lft_ray.serve.model.cascade import Cascade
from lft_ray.serve.model.predictor import Predictor

__all__ = ["open_predictor"]


def open_predictor(
    uri: str,
    layout: ReplicaThreads,
    *,
    limits: dict[str, int],
    public_key: str = "",
    observe: BatchObserver | None = None,
) -> Model:
    """Open a bundle or a cascade, verify it, and run its smoke samples, which also warms up the engines.

    Args:
        uri: folder or storage URI of the bundle.
        layout: worker threads and queue of the replica.
        limits: limits of the endpoint, see `Predictor`.
        public_key: PEM text of the key that the bundle must be signed with; empty: its signature is not checked.
        observe: called for every batch, from a worker thread.

    Raises:
        BundleError: the bundle is missing, damaged, of another format or not signed with the key, or its predictions
            differ from those it was exported with.
    """
    storage = Storage(uri)
    if not storage.exists():
        raise BundleError(f"there is no bundle at {uri}")
    # The copy of a bucket's folder is deleted at the end: the engines have read their weights by then.
    with storage.local_copy() as folder:
        if public_key:
            verify_signature(folder, public_key)
        if not is_cascade(folder):
            return _predictor(open_bundle(folder), layout, limits, observe)
        cascade = open_cascade(folder)
        small, large = (_predictor(bundle, layout, limits, observe) for bundle in (cascade.small, cascade.large))
        return Cascade(cascade.version, cascade.spec, small, large)


def _predictor(
    opened: OpenedBundle, layout: ReplicaThreads, limits: dict[str, int], observe: BatchObserver | None
) -> Predictor:
    runner = opened.open_runner(threads=layout.threads)
    opened.verify_smoke(runner)
    samples = opened.smoke.texts
    return Predictor(
        opened.bundle, runner, opened.task(), layout=layout, limits=limits, samples=samples, observe=observe
    )
