"""Replicas without Ray: several services in one event loop, with the interface that `RolloutController` expects."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from lft_ray.errors import BundleError
from lft_ray.serve.api.app import LIMITS
from lft_ray.serve.model.base import Model, ReplicaThreads
from lft_ray.serve.model.predictor import Predictor
from lft_ray.serve.rollout.service import Service
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus
from lft_ray.tasks.classification import Classification
from tests.serve.conftest import LABELS, CountingRunner, make_bundle

SAMPLES = ["bb market", "ss atom", "bb bank", "ss planet", "bb profit"]


class OddRunner(CountingRunner):
    """A model with a fault: ``nan`` returns NaN, ``fails`` raises, ``swapped`` has its labels mixed up, ``slow`` takes
    30 ms, ``drifts`` classifies most texts as business."""

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
    """Open ``good:<version>``, or the fault of an `OddRunner` and a version; ``damaged`` cannot be opened."""
    kind, _, version = uri.partition(":")
    if kind == "damaged":
        raise BundleError(f"{uri} is damaged")
    labels = ["business", "science", "weather"] if kind == "foreign" else LABELS
    bundle = make_bundle(version).model_copy(update={"labels": labels})
    model = Predictor(
        bundle, OddRunner(kind), Classification(labels), layout=ReplicaThreads(1), limits=LIMITS, samples=SAMPLES
    )
    if kind == "nan":
        raise BundleError("its logits are not finite")  # as verify_smoke does
    return model


class Fleet:
    """Replicas that can be called, killed and started."""

    def __init__(self, replicas: int, open_: Callable[[str], Model] = open_model) -> None:
        self.loop = asyncio.new_event_loop()
        self.open = open_
        self.desired: DesiredState | None = None
        self.applied: list[DesiredState] = []
        self.before_apply: Callable[[DesiredState], None] = lambda _: None
        self.services = {f"r{n}": Service(open_) for n in range(replicas)}
        self.requests = 0

    def apply(self, desired: DesiredState) -> list[ReplicaStatus]:
        """Apply a desired state on every replica."""
        self.desired = desired
        self.applied.append(desired)
        self.before_apply(desired)
        return [
            replace(self.loop.run_until_complete(service.reconfigure(desired)), replica=name)
            for name, service in self.services.items()
        ]

    def survey(self) -> list[ReplicaStatus]:
        """The current status of every replica."""
        return [replace(service.status, replica=name) for name, service in self.services.items()]

    def replace(self, name: str) -> None:
        """Kill a replica; its replacement starts with the current desired state."""
        del self.services[name]
        service = Service(self.open)
        assert self.desired is not None
        self.loop.run_until_complete(service.reconfigure(self.desired))
        self.services[f"{name}+"] = service

    def predict(self, count: int, texts: Sequence[str] = ("bb", "ss", "ss")) -> list[tuple[str, str]]:
        """(version, best label) of ``count`` requests with distinct ids and texts, distributed over all replicas."""
        results = []
        services = list(self.services.values())
        for number in range(count):
            self.requests += 1
            service = services[number % len(services)]
            suffix = "".join(chr(ord("f") + int(digit)) for digit in str(self.requests))
            text = f"{texts[number % len(texts)]} {suffix}".replace("o", "x")
            call = service.predict([text], key=f"request {self.requests}")
            predictions, version = self.loop.run_until_complete(call)
            results.append((version, predictions[0][0].label))
        return results
