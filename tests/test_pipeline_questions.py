"""The whole line on questions: from three columns to answers of stock clients, equal to those of the engine."""

import asyncio
import json
import random
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.client import AsyncClient, Client
from lft_ray.config import Experiment
from lft_ray.engines.batching import run_sorted
from lft_ray.export.bundle import open_bundle
from lft_ray.pipeline import deploy, down, export, run_search
from lft_ray.run.ledger import Ledger

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

THINGS = ["parcel", "invoice", "voucher", "ticket", "kettle", "lamp", "jacket", "sofa"]
TOWNS = ["Leeds", "York", "Hull", "Bath", "Ely", "Kent"]
LONG = "Nothing is said here about it. " * 800 + "The blue lamp is in Bath today. " + "Nothing more is said. " * 50
ASKED = [
    ("Where is the parcel?", "The sofa is in York. The parcel is in Leeds 👋 today."),
    ("Where is the lamp?", "Zoë's lamp is in Hull today.\nThe kettle is in Ely."),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_bert):
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("questions")
    lines = []
    for number in range(160):
        (thing, other), (town, elsewhere) = rng.sample(THINGS, 2), rng.sample(TOWNS, 2)
        parts = [f"The {thing} {number} is in {town} today.", f"The {other} is in {elsewhere}."]
        rng.shuffle(parts)
        lines.append({"question": f"Where is the {thing}?", "context": " ".join(parts), "answers": [town]})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    experiment = Experiment.parse(
        {
            "name": "where",
            "task": {"kind": "question_answering"},
            "data": {"train": str(folder / "rows.jsonl"), "split": {"validation": 0.2, "test": 0.2}},
            "models": [{"base": "overlap"}, {"base": str(tiny_bert), "layers": [1]}],
            "training": {"learning_rate": 1e-3, "batch_size": [8], "epochs": [1], "max_length": 384},
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


def expected(folder: str, asked, top_k=None) -> list:
    opened = open_bundle(Path(folder))
    return opened.task().predictions(run_sorted(opened.open_runner(), asked), asked, top_k=top_k)


def told(answer) -> tuple:
    return answer.answer, answer.start, answer.end, pytest.approx(answer.score, abs=1e-5)


def test_stock_clients_get_the_answers_of_the_engine(run, endpoint, monkeypatch):
    from huggingface_hub import InferenceClient
    from tritonclient import grpc as triton_grpc
    from tritonclient import http as triton_http

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    rows = expected(export(run).uri, ASKED)
    assert "Leeds" in rows[0][0].answer
    with Client(endpoint.url) as client:
        assert client.info().answers == "spans"
        ours = client.answer(ASKED)
        assert [told(one) for one in ours] == [told(row[0]) for row in rows]
        assert len(client.answer(ASKED * 200)) == 400

    async def ask():
        async with AsyncClient(endpoint.url) as client:
            return await client.answer(ASKED, top_k=3)

    three = expected(export(run).uri, ASKED, top_k=3)
    assert [list(map(told, row)) for row in asyncio.run(ask())] == [list(map(told, row)) for row in three]
    hub = InferenceClient(model=endpoint.url)
    for (question, context), one in zip(ASKED, ours, strict=True):
        found = hub.question_answering(question=question, context=context)
        assert (found.answer, found.start, found.end, found.score) == told(one)
        assert context[found.start : found.end] == found.answer
    for module, port in ((triton_http, endpoint.url.rpartition(":")[2]), (triton_grpc, endpoint.ports["grpc"])):
        with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
            inputs = [module.InferInput(name, [2], "BYTES") for name in ("question", "context")]
            for column, tensor in enumerate(inputs):
                tensor.set_data_from_numpy(np.array([pair[column] for pair in ASKED], dtype=object))
            result = client.infer("reader", inputs)
            assert [one.decode() for one in result.as_numpy("answer")] == [one.answer for one in ours]
            assert result.as_numpy("start").tolist() == [one.start for one in ours]


def test_bad_requests_are_named(endpoint):
    for path, body in (("/", {"inputs": "a"}), ("/predict", {"inputs": "a"}), ("/v1/classify", {"input": "a"})):
        refused = httpx.post(f"{endpoint.url}{path}", json=body)
        assert (refused.status_code, "answers questions" in refused.json()["error"]) == (422, True), refused.text


def test_the_command_line_asks_it(run, endpoint, tmp_path):
    question, context = ASKED[0]
    asked = CliRunner().invoke(app, ["predict", run.uri, "--question", question, "--context", context, "--json"])
    best = [row[0].answer for row in expected(export(run).uri, ASKED)]
    assert json.loads(asked.stdout)["answers"][0]["answer"] == best[0], asked.output
    state = json.loads(CliRunner().invoke(app, ["status", run.uri, "--json"]).stdout)
    assert "--question 'your question' --context" in state["next"]
    table = tmp_path / "rows.jsonl"
    table.write_text("\n".join(json.dumps({"question": q, "context": c}) for q, c in ASKED))
    out = tmp_path / "out.parquet"
    done = CliRunner().invoke(app, ["predict", run.uri, "--input", str(table), "--output", str(out)])
    assert done.exit_code == 0, done.output
    assert pq.read_table(out)["answer"].to_pylist() == best
    card = (Path(export(run).uri) / "MODEL_CARD.md").read_text()
    assert '{"question": "a question", "context": "its context"}' in card
    assert "question-answering" in card


def test_another_model_is_promoted_and_reads_a_long_context(run, endpoint):
    """The network reads 5,000 tokens in windows; the model of shared words reads as many words as it has learned."""
    before = httpx.get(f"{endpoint.url}/info").json()
    winner = run.selection().winner.trial_id
    other = next(record.trial_id for record in Ledger(run.storage).records() if record.trial_id != winner)
    assert deploy(run, trial_id=other, overrides=["serve.rollout.min_agreement=0"]).version != before["version"]
    after = httpx.get(f"{endpoint.url}/info").json()
    assert (after["model"] != before["model"], after["answers"]) == (True, "spans")
    body = {"inputs": {"question": "Where is the blue lamp?", "context": LONG}}
    answer = httpx.post(endpoint.url, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert LONG[found["start"] : found["end"]] == found["answer"] != ""
    ((same, *_),) = expected(run.storage.uri_of(f"exports/{other}"), [("Where is the blue lamp?", LONG)])
    assert (found["answer"], found["start"]) == (same.answer, same.start)
    # The lamp stands behind some 5,000 words: in one of the windows of the network.
    assert ("x-truncated" in answer.headers) == (after["model"] == "overlap")
