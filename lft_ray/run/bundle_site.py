"""The endpoint of a bundle outside a run, such as one that was handed on. In: its folder. Out: a `BundleSite`.

A bundle is sealed: its endpoint's record and log lie beside it, in ``<bundle>.endpoint/``.
"""

from pathlib import Path

from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import Storage

__all__ = ["BundleSite", "is_bundle", "run_or_bundle"]

_SIGNS = ("manifest.json", "cascade.json")
"""Files of a bundle and of a cascade, of which a run folder has neither."""


class BundleSite(RunFolder):
    """Folder of the endpoint of one bundle.

    Attributes:
        bundle_uri: the bundle.
    """

    def __init__(self, bundle_uri: str) -> None:
        super().__init__(f"{bundle_uri.rstrip('/')}.endpoint")
        self.bundle_uri = bundle_uri

    @property
    def typed(self) -> str:
        """The bundle: users never see the folder of its endpoint."""
        return self.bundle_uri


def is_bundle(storage: Storage) -> bool:
    """Whether a folder holds a bundle or a cascade."""
    return any(storage.exists(name) for name in _SIGNS) and not storage.exists("experiment.yaml")


def run_or_bundle(uri: str | Path) -> RunFolder:
    """Open a run, or the endpoint of a bundle.

    Raises:
        InputError: there is neither at ``uri``.
    """
    storage = Storage(uri)
    return BundleSite(storage.uri) if is_bundle(storage) else RunFolder.find(uri)
