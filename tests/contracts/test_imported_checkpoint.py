"""A checkpoint that TensorFlow wrote: imported, searched beside TF-IDF, each curve as TensorBoard reads it."""

import random

import pytest

from lft_ray.config import Experiment
from lft_ray.models.tensorflow.importing import import_checkpoint
from lft_ray.pipeline import export, run_search
from lft_ray.records import TrialStatus
from lft_ray.run.ledger import Ledger
from tests.models.tensorflow.write_checkpoint import FOLDER
from tests.run.event_files import files_of, scalars_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

WORDS = {"sport": ["team", "goal", "coach"], "money": ["bank", "stocks", "price"]}


def test_an_imported_checkpoint_is_a_model_like_any_other(tmp_path):
    base = import_checkpoint(FOLDER, tmp_path / "tiny").folder
    rng = random.Random(0)
    rows = ["text,label"]
    for number in range(160):
        label = rng.choice(sorted(WORDS))
        rows.append(f"the {rng.choice(WORDS[label])} of {rng.choice(WORDS[label])} {number},{label}")
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    experiment = Experiment.parse(
        {
            "name": "imported",
            "data": {"train": str(tmp_path / "rows.csv"), "split": {"validation": 0.25, "test": 0.2}},
            "models": [{"base": "tfidf"}, {"base": str(base), "layers": [1, 2]}],
            "training": {"learning_rate": 1e-2, "batch_size": 8, "epochs": 3, "max_length": 16, "method": ["full"]},
            "search": {"trials": 3, "sampler": "random", "object_store_mb": 100},
            "selection": {"confirmation_fraction": 0.0},
            "storage": str(tmp_path / "runs"),
        }
    )
    run = run_search(experiment)
    records = Ledger(run.storage).records("search")
    assert {record.config.model_size for record in records} == {"tfidf", f"{base}:1", f"{base}:2"}
    assert {record.status for record in records} == {TrialStatus.DONE}
    for record in records:
        [path] = files_of(tmp_path / "runs" / "imported" / "trials" / record.trial_id)
        scalars = scalars_of(path)
        assert scalars["validation/f1"] == pytest.approx({point.step: point.f1 for point in record.curve})
        assert len(scalars["usage/core_seconds"]) == len(record.curve)
        trained = [point.step for point in record.curve if point.learning_rate is not None]
        assert list(scalars.get("train/loss", {})) == list(scalars.get("train/learning_rate", {})) == trained
    largest = next(record for record in records if record.config.model_size == f"{base}:2")
    # The words of the two labels are tokens of the vocabulary: their embeddings are the checkpoint's own.
    assert largest.variants[0].f1 > 0.8
    assert export(run, trial_id=largest.trial_id).model_size == f"{base}:2"
