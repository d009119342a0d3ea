"""Hyperparameters and resources of a trial."""

import pytest
from pydantic import ValidationError

from lft_ray.config import TrainingSpec
from lft_ray.config.methods import EarlyStoppingSpec


@pytest.mark.parametrize(("workers", "count"), [("auto", 1), (1, 1), (3, 3)])
def test_auto_counts_as_one_worker_until_it_is_resolved(workers, count):
    assert TrainingSpec(workers=workers).worker_count == count


def test_patience_must_leave_a_pass_to_skip():
    assert TrainingSpec(evaluations=3, early_stopping=EarlyStoppingSpec(patience=2)).early_stopping.patience == 2
    with pytest.raises(ValidationError, match="expected at most 2"):
        TrainingSpec(evaluations=3, early_stopping=EarlyStoppingSpec(patience=3))


def test_a_condition_on_a_method_without_the_hyperparameter_is_refused():
    with pytest.raises(ValidationError, match=r"training\.frozen_layers\.when\.method: lora has no frozen_layers"):
        TrainingSpec(frozen_layers={"values": [1], "when": {"method": ["lora"]}})
