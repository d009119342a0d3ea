"""Deploy a bundle that was handed on without its run: ``lft deploy PATH_OF_BUNDLE``, the command of its model card.

In: the folder of a bundle or a cascade. Out: an `Endpoint`, recorded in the user's state folder, since a bundle is
sealed; or in its run, where the bundle still lies in one.
"""

from collections.abc import Sequence

from lft_ray.config import ServeSpec
from lft_ray.config.base import Spec
from lft_ray.config.load import overridden, validated
from lft_ray.export.bundle import MANIFEST
from lft_ray.export.cascade import CASCADE_FILE
from lft_ray.records import Endpoint
from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint.changes import check_given
from lft_ray.serve.endpoint.deploy import deploy
from lft_ray.serve.endpoint.locks import bundle_site

__all__ = ["deploy_bundle", "home_of", "is_bundle"]


class _Settings(Spec):
    """What ``--set`` may change where there is no experiment."""

    serve: ServeSpec = ServeSpec()


def is_bundle(target: str) -> bool:
    """Whether a path or URI is the folder of a bundle or a cascade, and not of a run."""
    storage = Storage(target)
    return not storage.exists("experiment.yaml") and any(map(storage.exists, (MANIFEST, CASCADE_FILE)))


def home_of(target: str) -> RunFolder:
    """The folder that holds the endpoint of a run, or of a bundle.

    Raises:
        InputError: it is neither.
    """
    if not is_bundle(target):
        return RunFolder.find(target)
    bundle = Storage(target)
    parent = Storage(bundle.uri.rpartition("/")[0] or "/")
    return RunFolder(parent.uri if parent.exists("experiment.yaml") else bundle_site(bundle))


def deploy_bundle(
    target: str, *, overrides: Sequence[str] = (), address: str | None = None, foreground: bool = False
) -> Endpoint:
    """Serve a bundle, or promote it where its endpoint is live.

    Args:
        target: folder of the bundle or cascade.
        overrides: ``serve.b=c``.
        address: existing Ray cluster; None: a cluster of its own on this machine.
        foreground: block and serve until interrupted.
    """
    given = check_given(overrides)
    home = home_of(target)
    spec = _spec(home, overrides)
    return deploy(home.uri, Storage(target).uri, spec, given=given, address=address, foreground=foreground)


def _spec(home: RunFolder, overrides: Sequence[str]) -> ServeSpec:
    if home.storage.exists("experiment.yaml"):
        experiment = home.experiment().with_overrides(overrides)
        return experiment.serve
    return validated(_Settings, overridden({}, overrides), source="--set").serve
