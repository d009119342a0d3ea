"""One local Ray cluster for all tests of the search: starting it takes 5 s and its first workers as long again."""

from collections.abc import Iterator

import pytest

from lft_ray.cluster.connect import ClusterHandle, connect
from lft_ray.config import ClusterSpec


@pytest.fixture(scope="package")
def cluster() -> Iterator[ClusterHandle]:
    with connect(ClusterSpec(), object_store_mb=100) as handle:
        yield handle
