"""LitServe with its own batching: around the transformers pipeline (pipeline) or around our engine (engine).

python litserve_app.py FOLDER PORT pipeline|engine
"""

import sys

import litserve


class Pipeline(litserve.LitAPI):
    """As its documentation has it."""

    def setup(self, device: str) -> None:
        """Open the model."""
        from transformers import pipeline

        self.classify = pipeline("text-classification", model=sys.argv[1], device="cpu")

    def decode_request(self, request: dict) -> str:
        """One text."""
        return request["inputs"]

    def predict(self, texts: list[str]) -> list[dict]:
        """All texts of a batch."""
        return self.classify(list(texts), batch_size=len(texts))

    def encode_response(self, output: dict) -> dict:
        """One answer."""
        return output


class Engine(Pipeline):
    """The same around our engine."""

    def setup(self, device: str) -> None:
        """Open the bundle."""
        from same_engine import Classifier

        self.classify = Classifier(sys.argv[1], threads=2)

    def predict(self, texts: list[str]) -> list[dict]:
        """All texts of a batch."""
        return self.classify(list(texts))


if __name__ == "__main__":
    api = (Engine if sys.argv[3] == "engine" else Pipeline)(max_batch_size=32, batch_timeout=0.01, api_path="/")
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning", access_log=False
    )
