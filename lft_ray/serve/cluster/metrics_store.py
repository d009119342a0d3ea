"""Where the replicas of a cluster keep the snapshots of their metrics: the key-value store of Ray's GCS.

In and out: bytes by the name of a replica. Ends with the cluster, as the counters do.
"""

from collections.abc import Mapping

__all__ = ["ClusterStore"]

_NAMESPACE = b"lft-metrics"


class ClusterStore:
    """A `lft_ray.serve.http.all_replicas.Store` in the cluster that this process is connected to."""

    def put(self, name: str, value: bytes) -> None:
        """Write a value."""
        from ray.experimental.internal_kv import _internal_kv_put

        _internal_kv_put(name.encode(), value, overwrite=True, namespace=_NAMESPACE)

    def all(self) -> Mapping[str, bytes]:
        """All values."""
        from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list

        names = _internal_kv_list(b"", namespace=_NAMESPACE)
        found = {name.decode(): _internal_kv_get(name, namespace=_NAMESPACE) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def remove(self, name: str) -> None:
        """Remove a value."""
        from ray.experimental.internal_kv import _internal_kv_del

        _internal_kv_del(name.encode(), namespace=_NAMESPACE)
