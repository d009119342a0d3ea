"""BentoML with its adaptive batching: around the transformers pipeline or, with PEER_ENGINE=1, around our engine.

PEER_FOLDER=FOLDER bentoml serve bento_service:Classify --port PORT
"""

import os

import bentoml


@bentoml.service(traffic={"timeout": 60, "max_concurrency": 256})
class Classify:
    """One batchable endpoint."""

    def __init__(self) -> None:
        if os.environ.get("PEER_ENGINE"):
            from same_engine import Classifier

            self._classify = Classifier(os.environ["PEER_FOLDER"], threads=2)
        else:
            from transformers import pipeline

            self._classify = pipeline("text-classification", model=os.environ["PEER_FOLDER"], device="cpu")

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000, route="/classify")
    def classify(self, inputs: list[str]) -> list[dict]:
        """All texts of a batch."""
        return self._classify(inputs)
