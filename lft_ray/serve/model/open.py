"""Open a bundle or a cascade for serving. In: its folder or URI, a layout. Out: a `Model`, verified."""

import shutil

from lft_ray.errors import BundleError
from lft_ray.export.bundle import OpenedBundle, open_bundle
from lft_ray.export.cascade import is_cascade, open_cascade
from lft_ray.run.storage import Storage
from lft_ray.serve.model.base import Model, ReplicaThreads
from lft_ray.serve.model.cascade import Cascade
from lft_ray.serve.model.predictor import Predictor

__all__ = ["open_predictor"]


def open_predictor(uri: str, layout: ReplicaThreads, *, limits: dict[str, int]) -> Model:
    """Open a bundle or a cascade, verify it, and run its smoke samples, which also warms the engines up.

    Args:
        uri: folder or storage URI.
        layout: of the replica.
        limits: see `Predictor`.

    Raises:
        BundleError: it is missing, damaged, foreign, or does not give the answers that it was exported with.
    """
    storage = Storage(uri)
    try:
        folder = storage.local_folder("")
    except FileNotFoundError:
        raise BundleError(f"there is no bundle at {uri}") from None
    try:
        if not is_cascade(folder):
            return _opened(open_bundle(folder), layout, limits=limits)
        found = open_cascade(folder)
        small, large = (_opened(half, layout, limits=limits) for half in (found.small, found.large))
        return Cascade(found.version, found.spec, small, large)
    finally:
        if not storage.is_local:
            shutil.rmtree(folder, ignore_errors=True)


def _opened(opened: OpenedBundle, layout: ReplicaThreads, *, limits: dict[str, int]) -> Predictor:
    runner = opened.open_runner(threads=layout.threads)
    opened.verify_smoke(runner)
    samples = opened.smoke.texts
    return Predictor(opened.bundle, runner, opened.task(), layout=layout, limits=limits, samples=samples)
