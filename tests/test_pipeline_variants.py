"""The line for a winner that is served shorter than it was trained: search, test split, bundle, endpoint, answers."""

from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq
import pytest

from lft_ray.client import Client
from lft_ray.config import Experiment
from lft_ray.data.store import load_split
from lft_ray.pipeline import deploy, down, export, run_search
from lft_ray.records import FrontPoint
from lft_ray.run.ledger import Ledger
from lft_ray.tasks.classification import Classification

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

TRAINED, SHORT = 48, 8
WORDS = {"sport": ["match", "coach", "goal"], "money": ["bank", "market", "stocks"]}
FILLER = ["quiet", "moving", "story", "with", "fine", "actors", "and", "plot", "made", "no", "sense", "at", "all"]


def shortest(points: Sequence[FrontPoint], *, margin: float) -> FrontPoint:
    """A policy: what a tiny network costs is noise, so the cheapest would be a matter of luck."""
    return min(points, key=lambda point: (point.max_length, point.precision))


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_bert):
    # The telling word stands first or last: a reader of 8 tokens sees it in half of the texts.
    folder = tmp_path_factory.mktemp("short")
    rows = ["text,label"]
    for number in range(200):
        label = list(WORDS)[number % 2]
        word, rest = WORDS[label][number % 3], " ".join(FILLER[number % 5 : number % 5 + 9])
        rows.append((f"{word} {rest} {number}" if number % 4 < 2 else f"{rest} {number} {word}") + f",{label}")
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    return run_search(
        Experiment.parse(
            {
                "name": "short",
                "data": {"train": str(folder / "rows.csv"), "split": {"validation": 0.3, "test": 0.2}},
                "models": [{"base": str(tiny_bert), "layers": [1]}],
                "training": {"learning_rate": 1e-2, "batch_size": 8, "epochs": 3, "max_length": TRAINED},
                "search": {"trials": 1, "sampler": "random", "object_store_mb": 100},
                "selection": {"policy": "tests.test_pipeline_variants:shortest", "confirmation_fraction": 0},
                "export": {"precisions": ["bf16", "fp32"], "max_lengths": [SHORT]},
                "serve": {"port": 0},
                "storage": str(folder / "runs"),
            }
        )
    )


def test_each_variant_has_its_own_profile_dollars_and_score(run):
    asked = [(length, precision) for length in (TRAINED, SHORT) for precision in ("bf16", "fp32")]
    assert [(p.max_length, p.precision) for p in run.profiles().profiles] == asked
    (record,) = Ledger(run.storage).records()
    assert [(v.max_length, v.precision) for v in record.variants] == asked
    assert (
        len({v.usd_per_million_predictions for v in record.variants}) == len({v.p95_ms for v in record.variants}) == 4
    )
    assert record.variants[0].f1 == record.curve[-1].f1
    assert record.variants[0].f1 > record.variants[2].f1 + 0.05


def test_a_shorter_winner_is_judged_exported_and_served_at_its_length(run):
    (record,) = Ledger(run.storage).records()
    winner = run.selection().winner
    assert (winner.max_length, winner.precision) == (SHORT, "bf16")
    # On the test split it sees as little as on validation.
    assert run.selection().test_f1 < record.variants[0].f1 - 0.05
    bundle = export(run)
    assert (bundle.max_length, bundle.precision) == (SHORT, "bf16")
    served = next(v for v in record.variants if (v.max_length, v.precision) == (SHORT, "bf16"))
    texts = load_split(run.dataset(), "validation").texts[:8]
    task = Classification(run.dataset().labels)
    expected = task.probabilities(
        np.array(pq.read_table(served.predictions_uri)["logits"].to_pylist(), np.float32)[: len(texts)]
    )
    endpoint = deploy(run)
    try:
        with Client(endpoint.url) as client:
            info, answers = client.info(), client.predict(texts)
    finally:
        down(run)
    assert (info.max_length, info.precision, info.version) == (SHORT, "bf16", bundle.version)
    got = np.array([[{s.label: s.score for s in row}[label] for label in task.labels] for row in answers])
    np.testing.assert_allclose(got, expected, atol=5e-2)
