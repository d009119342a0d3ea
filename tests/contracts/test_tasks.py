"""Every built-in task keeps the contract of `lft_ray.tasks.base.Task`."""

import numpy as np
import pytest

from lft_ray.plugins import resolve
from lft_ray.tasks import TASKS
from lft_ray.tasks.find import prediction_kind
from lft_ray.testing.tasks import TaskContract

LABEL_TASKS = sorted(name for name in TASKS if prediction_kind(resolve(name, TASKS, where="task.kind")) == "labels")
"""The contract is that of tasks with labels."""


class TestBuiltInTasks(TaskContract):
    @pytest.fixture(params=LABEL_TASKS)
    def task_class(self, request):
        kind = resolve(request.param, TASKS, where="task.kind")
        assert kind.kind == request.param
        return kind

    def test_distillation_at_temperature_one_is_cross_entropy_less_the_teachers_entropy(self, task, logits):
        import torch

        teacher = np.random.default_rng(1).normal(size=logits.shape).astype(np.float32)
        shares = task.probabilities(teacher).astype(np.float64)
        student = task.probabilities(logits).astype(np.float64)
        expected = (shares * np.log(shares / student)).sum()
        if task.allows_empty():
            expected += ((1 - shares) * np.log((1 - shares) / (1 - student))).sum()
        got = task.distill_loss(torch.from_numpy(logits), torch.from_numpy(teacher), 1.0)
        assert float(got) == pytest.approx(expected, rel=1e-4)

    def test_the_square_of_the_temperature_keeps_the_gradient_as_large(self, task, logits):
        """Hinton et al. 2015: at high temperatures it nears (student - teacher) / c; for one yes and no, a quarter."""
        import torch

        teacher = np.random.default_rng(1).normal(size=logits.shape).astype(np.float32)
        centred = logits - teacher
        if not task.allows_empty():
            centred = centred - centred.mean(axis=1, keepdims=True)
        student = torch.from_numpy(logits).requires_grad_()
        torch.autograd.backward(task.distill_loss(student, torch.from_numpy(teacher), 100.0))
        limit = centred / (4 if task.allows_empty() else task.outputs)
        np.testing.assert_allclose(student.grad.numpy(), limit, atol=0.02 * np.abs(limit).max())
