"""How a benchmark ends: its row goes to a file with date and versions, and to the last line of stdout."""

import json
from pathlib import Path
from typing import Any

from lft_ray.cluster.environment import environment
from lft_ray.records import now_utc

__all__ = ["RESULTS", "publish"]

RESULTS = Path(__file__).resolve().parent / "results"


def publish(row: dict[str, Any], results: Path) -> None:
    """Append ``row`` to the JSON-lines file ``results``, and print it."""
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row | {"date": now_utc(), "versions": environment()}) + "\n")
    print(json.dumps(row))
