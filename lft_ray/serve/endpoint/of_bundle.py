"""Serve a bundle that lies outside a run. In: its site and overrides. Out: an `Endpoint`. Never reads a run."""

from lft_ray.config.serving import serve_spec
from lft_ray.records import Endpoint
from lft_ray.run.bundle_site import BundleSite
from lft_ray.serve.endpoint.changes import check_given
from lft_ray.serve.endpoint.deploy import deploy

__all__ = ["deploy_bundle"]


def deploy_bundle(
    site: BundleSite, *, overrides: list[str] | None = None, address: str | None = None, foreground: bool = False
) -> Endpoint:
    """Serve a bundle with the default settings; a live endpoint of it is promoted without downtime.

    Args:
        site: the bundle, and the folder of its endpoint's files.
        overrides: ``serve.a.b=c``.
        address: existing Ray cluster (``auto`` or host:port); None: a cluster of its own on this machine.
        foreground: block and serve until interrupted.

    Raises:
        ConfigError: an override is invalid or of another section.
    """
    given = check_given(overrides or [])
    spec = serve_spec(overrides or [])
    return deploy(site.uri, site.bundle_uri, spec, given=given, address=address, foreground=foreground)
