import pickle

from lft_ray.candidates import Candidates
from lft_ray.config import DataSpec, Experiment, ModelSpec, TaskSpec, TrainingSpec
from lft_ray.records import TrialConfig
from lft_ray.train.job import TrialJob, result_name, trial_storage


def test_a_job_survives_json_and_pickle(trial_job):
    job = trial_job()
    assert TrialJob.model_validate_json(job.model_dump_json()) == job
    assert pickle.loads(pickle.dumps(job)) == job


def test_a_template_has_no_sample_texts_and_makes_jobs_by_replacement(topics, tmp_path):
    assert topics.sample_texts
    experiment = Experiment(
        name="topics",
        task=TaskSpec(kind="classification"),
        data=DataSpec(train="train.csv"),
        models=[ModelSpec(base="tfidf")],
        training=TrainingSpec(epochs=[2]),
    )
    candidates = Candidates.of(experiment, topics)
    template = TrialJob.of(candidates, topics, experiment.training, str(tmp_path))
    assert template.dataset == topics.replace(sample_texts=[], problems=[])
    assert (template.labels, template.metric) == (topics.labels, "macro_f1")
    job = template.replace(trial_id="t007", config=TrialConfig(model_size="tfidf"))
    assert trial_storage(job).uri == str(tmp_path / "trials" / "t007")


def test_each_attempt_has_its_own_result_file():
    assert [result_name(attempt) for attempt in (1, 2)] == ["result-1.json", "result-2.json"]


def test_a_trial_has_one_class_weighting(trial_job):
    listed = {"class_weights": ["none", "balanced"]}
    assert trial_job(training=listed, config={"class_weights": "balanced"}).trained.class_weights == "balanced"
    assert trial_job(training=listed).trained.class_weights == "none"
    assert trial_job(training={"class_weights": "balanced"}).trained.class_weights == "balanced"
