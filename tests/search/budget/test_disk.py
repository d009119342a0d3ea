import pytest

from lft_ray.config import ModelSpec, TrainingSpec
from lft_ray.errors import StorageError
from lft_ray.models.sizes import model_sizes
from lft_ray.search.budget import disk
from lft_ray.search.budget.disk import check_room, disk_forecast


@pytest.fixture
def sizes(tiny_bert):
    return model_sizes([ModelSpec(base="tfidf"), ModelSpec(base=str(tiny_bert), layers=[1, 2])])


def test_the_forecast_is_states_of_all_slots_and_a_checkpoint_a_trial(sizes):
    params = [size.params for size in sizes if not size.is_linear]
    found = disk_forecast(sizes, TrainingSpec(method=["full"]), trials=10, slots=2)
    encoder = max(size.encoder_params for size in sizes if not size.is_linear)
    assert found.least == 4 * max(params) + 3 * 4 * encoder + disk.PER_TRIAL_BYTES
    assert found.all == 2 * 6 * 4 * max(params) + 10 * (4 * sum(params) / len(params) + disk.PER_TRIAL_BYTES)


def test_a_disk_without_room_for_one_trial_is_refused_and_a_tight_one_told(sizes, tmp_path, monkeypatch):
    forecast = disk_forecast(sizes, TrainingSpec(), trials=10, slots=2)
    monkeypatch.setattr(disk, "free_bytes", lambda path: 10**12)
    assert check_room(str(tmp_path), forecast) == ""
    monkeypatch.setattr(disk, "free_bytes", lambda path: round(forecast.all) - 1)
    assert "the search may write" in check_room(str(tmp_path), forecast)
    monkeypatch.setattr(disk, "free_bytes", lambda path: 1000)
    with pytest.raises(StorageError, match="one trial of the largest model size writes"):
        check_room(str(tmp_path), forecast)
    monkeypatch.setattr(disk, "free_bytes", lambda path: None)
    assert check_room("s3://bucket/run", forecast) == ""
