"""Every built-in policy keeps the contract of `lft_ray.selection.policies.Policy`."""

import pytest

from lft_ray.plugins import resolve
from lft_ray.selection import POLICIES
from lft_ray.testing.policies import PolicyContract, random_points


class TestBuiltInPolicies(PolicyContract):
    @pytest.fixture(params=sorted(POLICIES))
    def policy(self, request):
        return resolve(request.param, POLICIES, where="selection.policy")


def test_a_policy_that_ignores_f1_or_follows_the_order_breaks_the_contract():
    contract, points = PolicyContract(), random_points(0, 20)

    def most_expensive(points, *, margin):
        return max(points, key=lambda point: point.usd_per_million_predictions)

    with pytest.raises(AssertionError, match="cheaper and better"):
        contract.test_a_dominated_point_is_never_chosen(most_expensive, points, 0.0)
    with pytest.raises(AssertionError):
        contract.test_the_choice_does_not_depend_on_the_order_of_the_points(
            lambda points, *, margin: points[0], points, 0.0
        )
