"""Which model folders are built ahead; starting and loading the replica is covered by the cluster test of profiles."""

from lft_ray.profile import session
from lft_ray.profile.requests import profile_requests
from tests.handed_down import candidates


def test_first_within_stops_at_the_size_limit(experiment, dataset):
    requests = profile_requests(candidates(experiment, dataset), dataset)
    size = 4 * requests[0].size.params + 4 * requests[1].size.params
    assert session._first_within(requests, size) == requests[:2]
    assert session._first_within(requests, size - 1) == requests[:1]
    assert session._first_within(requests, 0) == [r for r in requests[:1] if not r.size.params]
