"""Ray Serve around the transformers pipeline, as Ray's own text-classification example has it.

python ray_pipeline.py FOLDER PORT [MAX_ONGOING_REQUESTS]
"""

import os
import signal
import sys
import tempfile

FOLDER = sys.argv[1]


def main() -> None:
    import ray
    from ray import serve
    from starlette.requests import Request

    class Sentiment:
        def __init__(self) -> None:
            from transformers import pipeline

            self._classify = pipeline("text-classification", model=FOLDER, device="cpu")

        async def __call__(self, request: Request) -> list[dict[str, str | float]]:
            return self._classify((await request.json())["inputs"])

    options = {"max_ongoing_requests": int(sys.argv[3])} if len(sys.argv) > 3 else {}
    with tempfile.TemporaryDirectory(prefix="lft-peer-") as folder:
        ray.init(address="local", _temp_dir=folder, log_to_driver=False, object_store_memory=100 * 2**20)
        serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
        serve.run(serve.deployment(**options)(Sentiment).bind(), name="peer")
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
