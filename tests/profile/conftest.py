"""Fixtures of the profile stage: an experiment with its data, and bundles to deploy beside what is profiled."""

import pytest

from lft_ray.config import DataSpec, Experiment, TaskSpec
from lft_ray.data.prepare import prepare
from lft_ray.records import DatasetRecord
from lft_ray.run.storage import Storage
from tests.serve.conftest import WORDS, bundles

__all__ = ["bundles"]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, tiny_bert) -> Experiment:
    folder = tmp_path_factory.mktemp("profile")
    rows = [f"{word} number {n},{label}" for n in range(20) for label, words in WORDS.items() for word in words.split()]
    (folder / "train.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    return Experiment(
        name="profile",
        task=TaskSpec(),
        data=DataSpec(train=str(folder / "train.csv")),
        models=[{"base": str(tiny_bert), "layers": [1, 2]}, {"base": "tfidf"}],
        training={"max_length": 32},
        export={"precisions": ["fp32", "int8", "bf16"]},
        storage=str(folder),
    )


@pytest.fixture(scope="module")
def dataset(experiment) -> DatasetRecord:
    return prepare(experiment.task, experiment.data, Storage(experiment.run_uri))
