"""The plug-ins do what they say. Run from the repository: ``pytest docs/examples/lft_example_policy``."""

import numpy as np
import pytest
import torch
from lft_ray.records import FrontPoint
from lft_ray.selection.policies import choose
from lft_ray.testing.policies import PolicyContract
from lft_ray.testing.tasks import TaskContract

from lft_example_policy.policy import knee
from lft_example_policy.task import Stars

RATINGS = ["1", "2", "3", "4", "5"]


class TestKnee(PolicyContract):
    @pytest.fixture
    def policy(self):
        return knee


class TestStars(TaskContract):
    @pytest.fixture
    def task_class(self):
        return Stars


def point(number: int, f1: float, usd: float) -> FrontPoint:
    return FrontPoint(
        trial_id=f"t{number:03}", model_size=f"minilm:{number}", precision="fp32", max_length=64, f1=f1,
        usd_per_million_predictions=usd,
    )  # fmt: skip


@pytest.fixture
def front() -> list[FrontPoint]:
    """Two doublings of cost: the first gains 5 points of F1, the second 1."""
    return [point(1, 0.80, 0.05), point(2, 0.85, 0.10), point(4, 0.86, 0.20)]


@pytest.mark.parametrize(("margin", "size"), [(0.10, "minilm:1"), (0.02, "minilm:2"), (0.005, "minilm:4")])
def test_the_knee_moves_with_the_margin(front, margin, size):
    assert knee(front, margin=margin).model_size == size


def test_a_dominated_point_never_wins(front):
    assert knee([*front, point(6, 0.70, 0.30)], margin=0.0).model_size == "minilm:4"


def test_the_policy_is_found_by_its_dotted_path(front):
    assert choose("lft_example_policy.policy:knee", front, margin=0.02) == front[1]


def test_a_rating_further_off_costs_more():
    task, target = Stars(RATINGS), torch.tensor([0])
    near, far = torch.zeros(1, 5), torch.zeros(1, 5)
    near[0, 1] = far[0, 4] = 4.0
    assert task.loss(near, target, None) < task.loss(far, target, None)


def test_a_rating_further_off_scores_less_and_any_weighting_of_rows_is_scored_alike():
    task, targets = Stars(RATINGS), np.array([0, 4, 2, 2])
    near, far = np.array([1, 3, 2, 1]), np.array([4, 0, 2, 1])
    runs = [task.row_scores(targets, answers) for answers in (near, far)]
    weights = np.array([[1, 1, 1, 1], [0, 2, 0, 2]], dtype=np.float32)
    assert task.weighted_metric("closeness", runs)(weights).tolist() == [[0.8125, 0.4375], [0.75, 0.375]]
    assert task.panels(targets, near)[0].rows == [["0", 1], ["1", 3], ["2", 0], ["3", 0], ["4", 0]]
