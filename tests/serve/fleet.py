"""An endpoint without Ray: some services in one event loop, reached as `Changes` reaches replicas."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from lft_ray.errors import BundleError
from lft_ray.serve.changes import Outcome
from lft_ray.serve.http import LIMITS
from lft_ray.serve.layout import Layout
from lft_ray.serve.model import Model
from lft_ray.serve.predictor import Predictor
from lft_ray.serve.service import Service
from lft_ray.serve.wish import Wish
from lft_ray.tasks.classification import Classification
from tests.serve.conftest import LABELS, CountingRunner, make_bundle

SAMPLES = ["bb market", "ss atom", "bb bank", "ss planet", "bb profit"]


class OddRunner(CountingRunner):
    """A model with a fault: ``nan`` answers no numbers, ``fails`` raises, ``swapped`` names the labels wrongly,
    ``slow`` takes 30 ms, ``drifts`` calls most texts business."""

    def __init__(self, fault: str) -> None:
        super().__init__(pause_s=0.03 if fault == "slow" else 0.0)
        self.fault = fault
        self.calls = 0

    def run(self, batch):
        logits = super().run(batch)
        self.calls += 1
        if self.fault == "nan":
            return logits * float("nan")
        if self.fault == "fails" and self.calls > 50:
            raise RuntimeError("out of memory")
        if self.fault == "swapped":
            return logits[:, [1, 2, 0]]
        if self.fault == "drifts" and self.calls % 3:
            logits[:, 0] += 100.0
        return logits


def open_model(uri: str) -> Model:
    """``good:<version>``, or the fault of an `OddRunner` and a version; ``damaged`` cannot be opened."""
    kind, _, version = uri.partition(":")
    if kind == "damaged":
        raise BundleError(f"{uri} is damaged")
    labels = ["business", "science", "weather"] if kind == "foreign" else LABELS
    bundle = make_bundle(version).model_copy(update={"labels": labels})
    model = Predictor(bundle, OddRunner(kind), Classification(labels), layout=Layout(1), limits=LIMITS, samples=SAMPLES)
    if kind == "nan":
        raise BundleError("it answers numbers that are not finite")  # as verify_smoke does
    return model


class Fleet:
    """Replicas that can be asked, killed and started."""

    def __init__(self, replicas: int, open_: Callable[[str], Model] = open_model) -> None:
        self.loop = asyncio.new_event_loop()
        self.open = open_
        self.wish: Wish | None = None
        self.wishes: list[Wish] = []
        self.before_apply: Callable[[Wish], None] = lambda _: None
        self.services = {f"r{n}": Service(open_) for n in range(replicas)}
        self.asked = 0

    def apply(self, wish: Wish) -> Outcome:
        """Let every replica take a wish."""
        self.wish = wish
        self.wishes.append(wish)
        self.before_apply(wish)
        states = [self.loop.run_until_complete(s.reconfigure(wish)) for s in self.services.values()]
        reason = next((s.reason for s in states if s.reason), "")
        versions = ",".join(sorted({s.version for s in states}))
        return Outcome(versions, reason, len(states), states[0].candidate_version)

    def survey(self) -> dict[str, dict[str, Any]]:
        """State and tallies of every replica."""
        return {name: {**asdict(s.state), "tallies": s.tallies} for name, s in self.services.items()}

    def replace(self, name: str) -> None:
        """Kill a replica; the one that takes its place starts with the wish of the moment."""
        del self.services[name]
        service = Service(self.open)
        assert self.wish is not None
        self.loop.run_until_complete(service.reconfigure(self.wish))
        self.services[f"{name}+"] = service

    def ask(self, count: int, texts: Sequence[str] = ("bb", "ss", "ss")) -> list[tuple[str, str]]:
        """(version, best label) of so many requests, over all replicas, each with an id of its own."""
        found = []
        services = list(self.services.values())
        for number in range(count):
            self.asked += 1
            service = services[number % len(services)]
            asked = service.answer([texts[number % len(texts)]], key=f"request {self.asked}")
            answer, version = self.loop.run_until_complete(asked)
            found.append((version, answer[0][0].label))
        return found
