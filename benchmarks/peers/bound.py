"""The bound: a bare ASGI app around our engine and our batcher, without routes, checks, keys or Ray.

python bound.py FOLDER PORT
"""

import json
import os
import sys
from typing import Any

import uvicorn
from same_engine import Classifier

from lft_ray.engines.batching import Batcher


def main() -> None:
    classifier = Classifier(sys.argv[1], threads=1)
    batcher = Batcher(classifier.runner, workers=os.cpu_count() or 1)
    headers = [(b"content-type", b"application/json")]

    async def app(scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        logits = await batcher.submit([json.loads(body)["inputs"]])
        answer = json.dumps(classifier.decoded(logits)).encode()
        length = (b"content-length", str(len(answer)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": answer})

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
