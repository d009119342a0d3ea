"""A model without weights behind the real batcher and task, and the HTTP app on top of it."""

import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from lft_ray.export.bundle import ExportPlan, export_bundle
from lft_ray.export.card import CardFacts
from lft_ray.models.overlap import OverlapModel
from lft_ray.models.tfidf import TfidfModel
from lft_ray.models.tokens import Truncated
from lft_ray.records import Bundle
from lft_ray.run.storage import Storage
from lft_ray.serve.api.app import LIMITS, create_app
from lft_ray.serve.http.auth import ApiKeys
from lft_ray.serve.model.base import ReplicaThreads
from lft_ray.serve.model.predictor import Predictor
from lft_ray.serve.rollout.service import Service
from lft_ray.serve.rollout.state import DesiredState
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.pairs import Pairs
from lft_ray.tasks.questions.layout import CANDIDATES, LOW, row_of
from lft_ray.tasks.questions.task import QuestionFacts, Questions
from lft_ray.texts import Text

LABELS = ["business", "science", "sport"]


class CountingRunner:
    """Scores a label by how often its first letter occurs in the text. ``pause_s`` slows every batch down."""

    max_length = 32

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s

    def encode(self, texts):
        words = [text.split() for text in texts]
        return [own if len(own) <= self.max_length else Truncated(own[: self.max_length]) for own in words]

    def run(self, batch):
        time.sleep(self.pause_s)
        joined = [" ".join(words) for words in batch]
        return np.array([[text.count(label[0]) for label in LABELS] for text in joined], dtype=np.float32)


def make_bundle(version: str = "abc123abc123") -> Bundle:
    return Bundle(
        uri="/nowhere",
        version=version,
        engine="torch",
        precision="fp32",
        task_kind="classification",
        labels=LABELS,
        model_size="minilm:1",
        max_length=32,
        bytes=1,
    )


def make_predictor(version: str = "abc123abc123", pause_s: float = 0.0) -> Predictor:
    task = Classification(LABELS)
    return Predictor(make_bundle(version), CountingRunner(pause_s), task, layout=ReplicaThreads(1), limits=LIMITS)


async def make_service(version: str = "abc123abc123", pause_s: float = 0.0) -> Service:
    service = Service(lambda _: make_predictor(version, pause_s))
    await service.reconfigure(DesiredState(current="somewhere"))
    return service


def client_of(service: Service, keys: ApiKeys | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_app(service, keys=keys))
    return httpx.AsyncClient(transport=transport, base_url="http://endpoint")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = await make_service()
    yield made
    await made.current.retire()


@pytest.fixture
async def http(service) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as client:
        yield client


# ---------------------------------------------------------------- real bundles

WORDS = {
    "business": "market shares profit bank",
    "science": "atom planet species telescope",
    "sport": "goal match team league",
}


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> dict[str, Bundle]:
    """Two small real bundles, ``first`` and ``second``, of TF-IDF models fitted on different data."""
    folder = tmp_path_factory.mktemp("bundles")
    return {name: export_tfidf(folder, name, repeats) for name, repeats in (("first", 4), ("second", 7))}


def export_tfidf(folder: Path, name: str, repeats: int) -> Bundle:
    task = Classification(LABELS)
    texts = [f"{word} number {n}" for n in range(repeats) for words in WORDS.values() for word in words.split()]
    names = [[label] for _ in range(repeats) for label, words in WORDS.items() for _ in words.split()]
    model = TfidfModel.fit(texts, task.encode({"label": names}), task, 0, max_length=64)
    checkpoint = folder / f"checkpoint-{name}"
    checkpoint.mkdir()
    model.save(checkpoint)
    plan = ExportPlan(
        precision="fp32",
        task_kind="classification",
        labels=LABELS,
        samples=texts[:5],
        card=CardFacts(name="test"),
    )
    return export_bundle(checkpoint, plan, Storage(folder), f"bundle-{name}")


# ---------------------------------------------------------------- pairs of texts

PAIR_LABELS = ["first", "second"]


class PairRunner:
    """Scores a label by the words of its text, so that the order of the two texts matters."""

    max_length = 32

    def encode(self, texts):
        assert all(isinstance(text, tuple) and len(text) == 2 for text in texts), "the model reads pairs"
        return [[len(first.split()), len(second.split())] for first, second in texts]

    def run(self, batch):
        return np.array(batch, dtype=np.float32)


async def make_pair_service() -> Service:
    bundle = make_bundle().replace(task_kind="pairs", labels=PAIR_LABELS)

    def opened(_: str) -> Predictor:
        return Predictor(bundle, PairRunner(), Pairs(PAIR_LABELS), layout=ReplicaThreads(1), limits=LIMITS)

    service = Service(opened)
    await service.reconfigure(DesiredState(current="somewhere"))
    return service


def export_tfidf_pairs(folder: Path) -> Bundle:
    """A small real bundle on pairs: whether the second text has a word of the first."""
    task = Pairs(["different", "same"])
    words = [word for text in WORDS.values() for word in text.split()]
    texts = [(f"{one} x", f"{two} y") for one in words for two in words]
    names = [["same" if one == two else "different"] for one in words for two in words]
    model = TfidfModel.fit(texts, task.encode({"label": names}), task, 0, max_length=64)
    (folder / "checkpoint").mkdir()
    model.save(folder / "checkpoint")
    plan = ExportPlan(
        precision="fp32", task_kind="pairs", labels=task.labels, samples=texts[:5], card=CardFacts(name="test")
    )
    return export_bundle(folder / "checkpoint", plan, Storage(folder), "bundle")


# ---------------------------------------------------------------- questions with their contexts


class QuestionRunner:
    """Finds the words of the question in its context, in their order: an answer that a test can tell by looking.

    A context of more than `max_length` words is read up to there. Its spans have the scores 4, 3, 2, ..., and "no
    answer" has 0, so that it is the best one only where no word was found.
    """

    max_length = 32

    def encode(self, texts):
        assert all(isinstance(text, tuple) and len(text) == 2 for text in texts), "the model reads questions"
        found = []
        for question, context in texts:
            words = list(re.finditer(r"\S+", context))
            kind = list if len(words) <= self.max_length else Truncated
            wanted = question.rstrip("?").split()
            spans = [word.span() for word in words[: self.max_length] if word.group() in wanted]
            found.append(kind([spans, *words[: self.max_length]]))
        return found

    def run(self, batch):
        rows = []
        for spans, *_ in batch:
            scored = np.array([(*span, 4.0 - rank) for rank, span in enumerate(spans[:CANDIDATES])]).reshape(-1, 3)
            rows.append(row_of(scored, float(np.logaddexp.reduce([LOW, *scored[:, 2]])), 0.0))
        return np.stack(rows)


QUESTION_FACTS = QuestionFacts(has_none=True, by_character=False, longest_tokens=30)


def make_question_predictor(version: str = "abc123abc123", facts: QuestionFacts = QUESTION_FACTS) -> Predictor:
    bundle = make_bundle(version).replace(task_kind="question_answering", labels=[], model_size="overlap")
    return Predictor(bundle, QuestionRunner(), Questions(facts), layout=ReplicaThreads(1), limits=LIMITS)


async def make_question_service(version: str = "abc123abc123") -> Service:
    service = Service(lambda _: make_question_predictor(version))
    await service.reconfigure(DesiredState(current="somewhere"))
    return service


def export_overlap(folder: Path, name: str = "bundle", longest: int = 3) -> Bundle:
    """A small real bundle that answers questions by shared words."""
    task = Questions(QUESTION_FACTS.model_copy(update={"has_none": False}))
    texts: list[Text] = [(f"Where is {one}?", f"It is in {two}. {one} is in the {two} yard.") for one, two in _PLACES]
    answers = [[(place, len("It is in "))] for _, place in _PLACES]
    columns = {"question": [text[0] for text in texts], "context": [text[1] for text in texts], "answers": answers}
    truth = task.encode(columns)
    model = replace(OverlapModel.fit(texts, truth, task, 0, max_length=64), longest=longest)
    checkpoint = folder / f"checkpoint-{name}"
    checkpoint.mkdir()
    model.save(checkpoint)
    plan = ExportPlan(
        precision="fp32",
        task_kind=Questions.kind,
        labels=[],
        other_facts=task.facts.model_dump(),
        samples=texts[:5],
        card=CardFacts(name="test"),
    )
    return export_bundle(checkpoint, plan, Storage(folder), name)


_PLACES = [("Ada", "Leeds"), ("Bob", "York"), ("Cleo", "Hull"), ("Dan", "Bath"), ("Eve", "Kent"), ("Finn", "Ely")]
