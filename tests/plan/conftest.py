"""A small prepared dataset, and an experiment with three model sizes."""

import csv

import pytest

from lft_ray.config import Experiment
from lft_ray.data.prepare import prepare
from lft_ray.run.storage import Storage


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Experiment:
    folder = tmp_path_factory.mktemp("plan")
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows((f"the {topic} report number {i}", topic) for i in range(100) for topic in ("sport", "money"))
    return Experiment.model_validate(
        {
            "name": "plan",
            "data": {"train": str(folder / "rows.csv")},
            "models": [{"base": "tfidf"}, {"base": "minilm", "layers": [1, 6]}],
            "training": {"max_length": 32, "epochs": [1, 2]},
            "search": {"trials": 8},
            "storage": str(folder / "runs"),
        }
    )


@pytest.fixture(scope="module")
def dataset(experiment, tmp_path_factory):
    return prepare(experiment.task, experiment.data, Storage(tmp_path_factory.mktemp("data")))
