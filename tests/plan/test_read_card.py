"""How the bases read the texts, as plan, search and report tell it."""

import pytest

from lft_ray import pipeline
from lft_ray.config import Experiment
from lft_ray.plan.read_card import note_fits, with_fits
from lft_ray.records import DatasetRecord
from lft_ray.run.folder import RunFolder

CHINESE = "\u4e2d\u56fd\u65b0\u95fb\u7ecf\u6d4e\u4f53\u80b2\u6bd4\u8d5b\u80a1\u7968"


@pytest.fixture
def chinese(tmp_path) -> Experiment:
    rows = [f"{CHINESE[i % 9 :]}{i},{'ab'[i % 2]}" for i in range(80)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return Experiment.model_validate(
        {
            "name": "chinese",
            "data": {"train": str(tmp_path / "rows.csv")},
            "models": [{"base": "tfidf"}, {"base": "minilm", "layers": [1]}],
            "training": {"max_length": 32},
            "storage": str(tmp_path / "runs"),
        }
    )


def test_a_plan_for_a_base_that_cannot_read_the_texts_says_so(chinese):
    [note] = [note for note in pipeline.plan(chinese).notes if "minilm" in note]
    assert "does not know" in note
    assert "multilingual-e5-small" in note


def test_a_run_keeps_how_its_bases_read_the_texts(chinese):
    told: list[str] = []
    with RunFolder.driven(chinese, resume=False, replace=False) as run:
        prepared = pipeline.prepare(run, chinese, told.append)
        stored = run.get("dataset.json", DatasetRecord)
    assert [problem.code for problem in stored.problems if problem.code == "unknown_tokens"] == ["unknown_tokens"]
    assert stored == prepared.dataset
    [line] = [line for line in told if "minilm" in line]
    assert line.startswith("warning: base minilm does not know")
    assert with_fits(stored, chinese.models, 64) == stored
    assert note_fits(run, stored, chinese.models, 64, told.append) == stored


def test_nothing_is_told_of_english(experiment, dataset):
    assert with_fits(dataset, experiment.models, experiment.training.max_length) == dataset
