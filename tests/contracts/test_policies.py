"""Every built-in policy keeps the contract of `lft_ray.selection.policies.Policy`."""

import subprocess
import sys

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


def test_a_contract_without_its_fixture_says_which_one(tmp_path):
    lines = ["from lft_ray.testing.policies import PolicyContract", "class TestMine(PolicyContract): pass"]
    (tmp_path / "test_mine.py").write_text("\n".join(lines) + "\n")
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "a subclass of PolicyContract needs a fixture policy" in done.stdout
