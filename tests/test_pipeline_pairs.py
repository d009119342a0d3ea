"""The whole line on pairs of texts: from two columns to answers of stock clients, equal to those of the engine."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.client import Client
from lft_ray.config import Experiment
from lft_ray.engines.batching import run_sorted
from lft_ray.export.bundle import open_bundle
from lft_ray.pipeline import deploy, down, export, report, run_search
from lft_ray.tasks.base import LabelTask
from tests.test_docs import ADDRESS, blocks, execute

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

THINGS = ["parcel", "invoice", "voucher", "ticket", "kettle", "lamp", "jacket", "sofa"]
ASKED = [("where is my parcel 1", "your parcel is on its way"), ("where is my lamp 2", "your sofa is on its way")]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_bert):
    """The reply is about the thing that was asked for, or about another."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("pairs")
    lines = ["question,reply,label"]
    for number in range(240):
        thing, other = rng.sample(THINGS, 2)
        about, label = (thing, "yes") if number % 2 else (other, "no")
        lines.append(f"where is my {thing} {number},your {about} is on its way,{label}")
    (folder / "pairs.csv").write_text("\n".join(lines))
    experiment = Experiment.parse(
        {
            "name": "replies",
            "task": {"kind": "pairs", "columns": {"text_a": "question", "text_b": "reply"}},
            "data": {"train": str(folder / "pairs.csv"), "split": {"validation": 0.2, "test": 0.2}},
            "models": [{"base": "tfidf"}, {"base": str(tiny_bert), "layers": [1]}],
            "training": {
                "learning_rate": {"low": 1e-3, "high": 1e-2},
                "batch_size": [8],
                "epochs": [1],
                "max_length": 24,
            },
            "search": {"trials": 2, "sampler": "random", "object_store_mb": 100},
            "selection": {"policy": "best_f1", "confirmation_fraction": 0.0},
            "serve": {"port": 0, "grpc_port": 0},
            "storage": str(folder / "runs"),
        }
    )
    return run_search(experiment)


@pytest.fixture(scope="module")
def endpoint(run):
    export(run)
    found = deploy(run)
    yield found
    assert down(run) is not None


def expected(run, pairs) -> np.ndarray:
    opened = open_bundle(Path(export(run).uri))
    task = opened.task()
    assert isinstance(task, LabelTask)
    return task.probabilities(run_sorted(opened.open_runner(), pairs))


def test_every_size_is_trained_and_the_words_in_common_are_found(run):
    trials = json.loads(run.storage.get("selection.json"))
    assert trials["winner"]["f1"] > 0.9
    html = run.storage.get("report.html").decode()
    assert "text_a from column" in html
    report(run)


def test_the_card_asks_for_a_pair(run):
    card = (Path(export(run).uri) / "README.md").read_text()
    assert '"text_pair": "a second text"' in card


def test_stock_clients_get_the_answers_of_the_engine(run, endpoint, monkeypatch):
    scores = expected(run, ASKED)
    labels = run.dataset().labels
    with Client(endpoint.url) as client:
        assert client.info().segments == 2
        rows = client.predict(ASKED)
    ours = np.array([[{one.label: one.score for one in row}[label] for label in labels] for row in rows])
    np.testing.assert_allclose(ours, scores, atol=2e-6)
    assert [row[0].label for row in rows] == ["yes", "no"]
    objects = [{"text": first, "text_pair": second} for first, second in ASKED]
    hf = httpx.post(endpoint.url, json={"inputs": objects}).json()
    tei = httpx.post(f"{endpoint.url}/predict", json={"inputs": [list(pair) for pair in ASKED]}).json()
    assert hf == tei
    assert [[one["label"] for one in row] for row in hf] == [[one.label for one in row] for row in rows]
    refused = httpx.post(endpoint.url, json={"inputs": "a single text"})
    assert (refused.status_code, "reads pairs of texts" in refused.json()["error"]) == (422, True)
    from tritonclient import http as triton

    address = endpoint.url.removeprefix("http://")
    with triton.InferenceServerClient(address) as client:
        inputs = [triton.InferInput(name, [2], "BYTES") for name in ("text_a", "text_b")]
        for column, one in enumerate(inputs):
            one.set_data_from_numpy(np.array([pair[column] for pair in ASKED], dtype=object))
        matrix = client.infer("classifier", inputs).as_numpy("probabilities")
    np.testing.assert_allclose(matrix, scores, atol=2e-6)


def test_the_command_line_asks_it(run, endpoint):
    asked = CliRunner().invoke(app, ["predict", run.uri, *ASKED[0], "--json"])
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.stdout)["labels"][0]["label"] == "yes"
    state = json.loads(CliRunner().invoke(app, ["status", run.uri, "--json"]).stdout)
    assert state["next"].endswith("'first text' 'second text'")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_the_guide_work(endpoint):
    address = endpoint.url.removeprefix("http://")
    shown = [block for block in blocks("bash") if block.needs == "pairs"]
    assert len(shown) >= 3
    for block in shown:
        script = block.text.replace(ADDRESS, address)
        told = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True, timeout=60).stdout
        assert "error" not in json.loads(told), block.place
    for block in blocks("python"):
        if block.needs == "pairs":
            execute(block, address=address)
