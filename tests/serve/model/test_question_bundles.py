"""Real bundles that answer questions, behind real sockets: answers of the engine, long contexts, and a promotion."""

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest

from lft_ray.client import Client
from lft_ray.config import ModelSpec
from lft_ray.engines.batching import run_sorted
from lft_ray.export.bundle import ExportPlan, export_bundle, open_bundle
from lft_ray.export.card import CardFacts
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import build, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import model_sizes
from lft_ray.run.storage import Storage
from lft_ray.serve.api.app import LIMITS
from lft_ray.serve.model.base import ReplicaThreads
from lft_ray.serve.model.open import open_predictor
from lft_ray.serve.rollout.service import Service
from lft_ray.serve.rollout.state import DesiredState
from lft_ray.tasks.questions.task import Questions
from tests.serve.conftest import QUESTION_FACTS, export_overlap
from tests.serve.running import running

LONG = "Nothing is said here about it. " * 800 + "The blue lamp is in Bath today. " + "Nothing more is said. " * 50
ASKED = [
    ("Where is the parcel?", "The sofa is in York. The parcel is in Leeds 👋 today."),
    ("Where is the lamp?", "Zoë's lamp is in Hull today.\nThe kettle is in Ely."),
    ("Where is the blue lamp?", LONG),
]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, tiny_bert) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bundles")
    spec = ModelSpec(base=str(tiny_bert), layers=[1])
    size = model_sizes([spec])[0]
    network = build(find_base(spec), size, 2, head="tokens")
    network.head.weight.data *= 40
    card = EngineCard(
        engine="torch",
        model_size=size.name,
        outputs=2,
        max_length=384,
        pooling=network.pooling,
        segments=2,
        longest_answer=30,
    )
    save(network, folder / "checkpoint", tokenizer_from=tiny_bert, card=card)
    plan = ExportPlan(
        precision="fp32",
        task_kind=Questions.kind,
        labels=[],
        other_facts=QUESTION_FACTS.model_copy(update={"has_none": False}).model_dump(),
        samples=ASKED[:2],
        card=CardFacts(name="test"),
    )
    made = export_bundle(folder / "checkpoint", plan, Storage(folder), "network")
    return {"overlap": export_overlap(folder, "overlap").uri, "network": made.uri}


def service_of(uri: str):
    async def make() -> Service:
        service = Service(lambda at: open_predictor(at, ReplicaThreads(1), limits=LIMITS))
        await service.reconfigure(DesiredState(current=uri))
        return service

    return make


def expected(uri: str, *, top_k: int) -> list:
    opened = open_bundle(Path(uri))
    return opened.task().predictions(run_sorted(opened.open_runner(), ASKED), ASKED, top_k=top_k)


@pytest.mark.parametrize("kind", ["overlap", "network"])
def test_the_answers_are_those_of_the_engine(bundles, kind):
    with running(make=service_of(bundles[kind])) as live:
        with Client(live.url) as client:
            found = client.answer(ASKED, top_k=3)
        rows = expected(bundles[kind], top_k=3)
        for ours, theirs, (_, context) in zip(found, rows, ASKED, strict=True):
            assert [(one.answer, one.start, one.end) for one in ours] == [
                (one.answer, one.start, one.end) for one in theirs
            ]
            np.testing.assert_allclose([one.score for one in ours], [one.score for one in theirs], atol=1e-5)
            assert all(context[one.start : one.end] == one.answer for one in ours)
        told = httpx.post(live.url, json={"inputs": [{"question": q, "context": c} for q, c in ASKED]}, timeout=60)
        # A network reads some 5,000 tokens in windows; the other model reads as many words as it was fitted with.
        assert told.headers.get("x-truncated") == (None if kind == "network" else "2")
        assert [one["answer"] for one in told.json()] == [row[0].answer for row in rows]


def test_one_replaces_the_other_by_the_gate(bundles):
    async def promote() -> tuple[str, str, str]:
        service = await service_of(bundles["overlap"])()
        before = service.version
        wanted = {"current": bundles["overlap"], "candidate": bundles["network"], "min_agreement": 0.0}
        status = await service.reconfigure(DesiredState(**wanted, serial=1, share=0.5, max_slowdown=None))
        assert (status.state, status.reason) == ("ready", "")
        for key in range(20):
            predictions, version = await service.predict(ASKED[:1], key=str(key))
            assert version in (before, status.candidate_version)
            assert predictions[0][0].answer
        counted = service.status.stats
        assert counted.current.requests + counted.candidate.requests == 20
        await service.reconfigure(DesiredState(current=bundles["network"], serial=2))
        after = service.version
        await service.current.retire()
        return before, after, status.candidate_version

    before, after, candidate = asyncio.run(promote())
    assert before != after == candidate
