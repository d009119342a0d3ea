"""Two trials of a run as one endpoint: tuned on validation, evaluated once on test, exported, opened, called."""

import asyncio
import csv
import json
import random

import numpy as np
import pytest

from lft_ray.cli.runs import leaderboard_of
from lft_ray.config import Experiment
from lft_ray.errors import BundleError, InputError
from lft_ray.export.cascade import CASCADE_FILE, version_of
from lft_ray.pipeline import cascade, report, run_train
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.serve.api.app import LIMITS
from lft_ray.serve.model.base import ReplicaThreads
from lft_ray.serve.model.open import open_predictor
from tests.report.builders import profiles

WORDS = {
    "business": ["market", "shares", "profit", "bank"],
    "science": ["atom", "planet", "species", "telescope"],
    "sport": ["goal", "match", "team", "league"],
}


def write_texts(path):
    """A word tells the label of nine texts in ten; the tenth has a word of sport, whatever its label."""
    rng = random.Random(0)
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["text", "label"])
        for number in range(600):
            label = rng.choice(sorted(WORDS))
            word = rng.choice(WORDS[label] if rng.random() < 0.9 else WORDS["sport"])
            rows.writerow([f"person{number} saw the {word} number{rng.randrange(50)}", label])


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_bert):
    folder = tmp_path_factory.mktemp("cascade")
    write_texts(folder / "texts.csv")
    experiment = Experiment.parse(
        {
            "name": "pair",
            "data": {"train": str(folder / "texts.csv"), "split": {"validation": 0.3, "test": 0.2}},
            "models": [{"base": str(tiny_bert), "layers": [1]}, {"base": "tfidf"}],
            "training": {"learning_rate": 2e-3, "batch_size": 16, "epochs": 1, "max_length": 16},
            "selection": {"margin": 0.01},
            "storage": str(folder / "runs"),
        }
    )
    found, small = run_train(experiment, size=f"{tiny_bert}:1")
    _, large = run_train(experiment, size="tfidf")
    # `lft train` measures no profile; what the two cost to serve is of no matter here but for which is the cheaper.
    for record, usd in ((small, 0.01), (large, 0.05)):
        variants = [v.model_copy(update={"usd_per_million_predictions": usd}) for v in record.variants]
        priced = record.model_copy(update={"variants": variants})
        found.storage.put(f"trials/{record.trial_id}/record.json", priced.model_dump_json())
    found.put("profiles.json", profiles())
    return found, small, large


@pytest.fixture(scope="module")
def made(run):
    found, small, _ = run
    return cascade(found, small.trial_id, "tfidf")


def test_it_is_measured_and_looked_at_once(run, made):
    found, small, large = run
    assert made.pair == f"{small.trial_id}+{large.trial_id}"
    assert made.small_f1 == pytest.approx(small.variants[0].f1)
    assert made.large_f1 == pytest.approx(large.variants[0].f1)
    assert made.large_f1 > made.small_f1 + 0.01
    assert 0.0 < made.share < 1.0
    assert (made.validation_rows, made.test_rows) == (180, 120)
    assert made.small_f1 <= made.f1 <= 1.0
    assert 0.01 < made.usd_per_million_predictions < 0.06
    looked = made.test_f1
    assert cascade(found, small.trial_id, large.trial_id).test_f1 == looked
    assert len(found.cascades()) == 1


def test_it_stands_on_the_board_and_in_the_report(run, made):
    found, _, _ = run
    board = json.loads(json.dumps(leaderboard_of(found)))
    kinds = {row["trial_id"]: row["kind"] for row in board["front"]}
    on_front = made.f1 > made.small_f1 and made.usd_per_million_predictions < 0.05
    assert kinds.get(made.pair) == ("cascade" if on_front else None)
    text = Storage(report(found).rpartition("/")[0]).get("report.html").decode()
    assert "for the" in text
    assert f'"trial":"{made.pair}"' in text


def test_it_answers_as_its_two_models_do(run, made):
    found, _, _ = run
    model = open_predictor(found.storage.uri_of("cascade"), ReplicaThreads(1), limits=LIMITS)
    halves = [
        open_predictor(found.storage.uri_of(f"cascade/{part}"), ReplicaThreads(1), limits=LIMITS)
        for part in ("small", "large")
    ]
    texts = [f"they saw the {word}" for words in WORDS.values() for word in words] + ["nothing that tells"]

    async def ask():
        return [await m.predict(texts, top_k=None, function=None) for m in (model, *halves)]

    both, ours, theirs = asyncio.run(ask())
    asked = 0
    for answer, small_answer, large_answer in zip(both, ours, theirs, strict=True):
        assert answer in (small_answer, large_answer)
        asked += answer == large_answer and answer != small_answer
    assert model.info.large_share == pytest.approx(asked / len(texts))
    assert model.info.model == f"{halves[0].info.model} > tfidf"
    assert [sample.bucket for sample in model.run_samples(texts)] == [answer[0].label for answer in both]
    assert model.version == version_of(found.storage.local_folder("cascade"))
    for opened in (model, *halves):
        asyncio.run(opened.retire())


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / CASCADE_FILE).write_text("{"),
        lambda folder: (folder / CASCADE_FILE).write_text(
            (folder / CASCADE_FILE).read_text().replace('n": "', 'n": "0')
        ),
        lambda folder: (folder / "small" / "MODEL_CARD.md").write_text("another"),
        lambda folder: (folder / "large").rename(folder / "gone"),
    ],
)
def test_a_damaged_one_is_refused(run, made, tmp_path, damage):
    import shutil

    folder = shutil.copytree(run[0].storage.local_folder("cascade"), tmp_path / "copy")
    version_of(folder)
    damage(folder)
    with pytest.raises(BundleError):
        version_of(folder)


def test_the_dearer_one_cannot_be_asked_first(run):
    with pytest.raises(InputError, match="must be the cheaper one"):
        cascade(run[0], run[2].trial_id, run[1].trial_id)


def test_a_name_that_is_none_is_refused(run):
    with pytest.raises(InputError, match="named 'tfdf'"):
        cascade(run[0], "tfdf", "tfidf")


def test_the_ledger_is_as_it_was(run, made):
    assert len(Ledger(run[0].storage).records()) == 2
    assert np.isfinite(made.threshold)
