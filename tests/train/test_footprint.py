import pytest
import torch

from lft_ray.config import ModelSpec, TrainingSpec
from lft_ray.models.network import TextNetwork
from lft_ray.train.footprint import measure


def test_training_that_does_not_fit_has_no_peak(tiny_bert, monkeypatch):
    def forward(self, ids, mask):
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(TextNetwork, "forward", forward)
    spec = TrainingSpec(micro_batch_tokens=512, max_length=32)
    found = measure([ModelSpec(base=str(tiny_bert), layers=[2])], f"{tiny_bert}:2", spec, 3)
    assert found.peak_bytes is None
    assert found.state_bytes > 0


def test_other_errors_of_a_measurement_are_raised(tiny_bert, monkeypatch):
    def forward(self, ids, mask):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(TextNetwork, "forward", forward)
    with pytest.raises(RuntimeError, match="shapes"):
        measure([ModelSpec(base=str(tiny_bert), layers=[2])], f"{tiny_bert}:2", TrainingSpec(), 3)
