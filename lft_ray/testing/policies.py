"""Contract of selection policies, `lft_ray.selection.policies.Policy`.

In: your policy. Out: passed or failed tests. Never reads files.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from lft_ray.records import FrontPoint
from lft_ray.selection.policies import Policy

__all__ = ["PolicyContract", "random_points"]

MARGINS = (0.0, 0.005, 0.02, 0.5)


def random_points(seed: int, count: int) -> list[FrontPoint]:
    """Return points of distinct trials; F1 and dollars in steps of 0.01, so that some are equal."""
    rng = np.random.default_rng(seed)
    return [
        FrontPoint(
            trial_id=f"t{number:03d}",
            model_size=f"base:{1 + number % 6}",
            precision="fp32",
            max_length=128,
            f1=float(rng.integers(80, 95)) / 100,
            usd_per_million_predictions=float(rng.integers(1, 20)) / 100,
            p95_ms=5.0,
        )
        for number in range(count)
    ]


class PolicyContract:
    """Subclass it with a fixture ``policy``."""

    @pytest.fixture
    def policy(self) -> Policy:
        """Your policy."""
        pytest.fail("a subclass of PolicyContract needs a fixture policy that returns your callable")

    @pytest.fixture(params=range(20))
    def points(self, request: pytest.FixtureRequest) -> Sequence[FrontPoint]:
        """1 to 20 points to choose from."""
        return random_points(request.param, 1 + request.param)

    @pytest.mark.parametrize("margin", MARGINS)
    def test_one_of_the_points_is_chosen(self, policy: Policy, points: Sequence[FrontPoint], margin: float) -> None:
        before = list(points)
        assert policy(points, margin=margin) in points
        assert list(points) == before, "the points were changed"

    @pytest.mark.parametrize("margin", MARGINS)
    def test_a_dominated_point_is_never_chosen(
        self, policy: Policy, points: Sequence[FrontPoint], margin: float
    ) -> None:
        chosen = policy(points, margin=margin)
        better = [
            point
            for point in points
            if point.f1 > chosen.f1 and point.usd_per_million_predictions < chosen.usd_per_million_predictions
        ]
        assert not better, f"{chosen} was chosen, but these are cheaper and better"

    @pytest.mark.parametrize("margin", MARGINS)
    def test_the_choice_does_not_depend_on_the_order_of_the_points(
        self, policy: Policy, points: Sequence[FrontPoint], margin: float
    ) -> None:
        chosen = policy(points, margin=margin)
        assert policy(points[::-1], margin=margin) == chosen
        assert policy(points, margin=margin) == chosen
