import numpy as np
import pyarrow.parquet as pq

from lft_ray.data.store import load_split
from lft_ray.models.tfidf import TfidfModel
from lft_ray.records import TrialStatus
from lft_ray.run.storage import Storage
from lft_ray.train.trial import run_trial


def test_a_linear_trial_saves_the_model_that_was_scored(trial_job):
    job = trial_job(config={"model_size": "tfidf", "learning_rate": None, "batch_size": None, "epochs": None})
    seen = []
    result = run_trial(job, seen.append)
    assert result.status is TrialStatus.DONE
    assert [point.fraction for point in result.curve] == [1.0]
    assert len(seen) == 1
    assert result.variants[0].f1 > 0.9
    folder = Storage(result.checkpoint_uri).local_folder("")
    logits = np.array(pq.read_table(result.variants[0].predictions_uri)["logits"].to_pylist())
    texts = load_split(job.dataset, "validation").texts
    np.testing.assert_allclose(TfidfModel.load(folder).logits(texts), logits, atol=1e-5)
