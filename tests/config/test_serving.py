"""Settings of an endpoint."""

import pytest
from pydantic import ValidationError

from lft_ray.config import AutoscalingSpec, RolloutSpec, ServeSpec


def test_the_minimum_of_replicas_may_not_exceed_the_maximum():
    assert AutoscalingSpec(min_replicas=4, max_replicas=4).min_replicas == 4
    with pytest.raises(ValidationError, match="min_replicas 5 is above max_replicas 4"):
        AutoscalingSpec(min_replicas=5, max_replicas=4)


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (ServeSpec, {"max_queued_texts": 127}),
        (ServeSpec, {"preset": "fast"}),
        (AutoscalingSpec, {"look_back_s": 5}),
        (RolloutSpec, {"canary_share": 0.6}),
        (RolloutSpec, {"max_slowdown": 0.5}),
    ],
)
def test_values_that_would_not_work_are_refused(spec, fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        spec(**fields)
