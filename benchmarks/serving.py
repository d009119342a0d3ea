"""Servers beside each other on the same texts and weights: requests a second, latencies, memory and cold start.

python benchmarks/serving.py --run RUNS/NAME [--rounds 2] [--only NAME,NAME] [--quick]

RUN: a finished run; its winner's bundle is what `lft deploy` serves, and what peers with ``_engine`` run; the texts are
those of its validation split, in their own order. Peers that are not set up are left out and named: PEERS_PYTHON is a
Python with litserve, bentoml, transformers, torch and onnxruntime; INFINITY_PYTHON one with infinity-emb[server,torch].
In each round every server is
started, warmed and loaded in turn, alone on the machine with the load generator: closed loops of 1, 8, 32 and 64
connections, open loops at the fixed rates that it can answer (latency from when a request was due). --quick: one round,
1 and 32 connections.
Prints a table and, on the last line, one JSON object; its ratios are of requests a second at 32 connections.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from peers.hub_folder import write_hub_folder
from peers.servers import SERVERS, Folders, Server, started
from publishing import RESULTS, publish

from lft_ray.data.store import load_split
from lft_ray.pipeline import records_of
from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import Storage
from lft_ray.serve.loadgen import LoadResult, closed_loop, open_loop, text_bodies

CONNECTIONS = (1, 8, 32, 64)
QUICK = (1, 32)
RATES = (20, 100, 200)
SECONDS, WARM_S = 5.0, 6.0
AS_SHIPPED = ("litserve", "bentoml", "infinity")
SAME_ENGINE = ("litserve_engine", "bentoml_engine")


@dataclass(frozen=True, slots=True)
class Measured:
    """One server in one round; keys of ``closed`` and ``open`` are connections and requests a second."""

    first_answer_s: float
    memory_mb: float
    closed: dict[int, dict[str, float]]
    open: dict[int, dict[str, float]]


@contextmanager
def ours(folders: Folders, texts: list[str], settings: list[str]) -> Iterator[Server]:
    """`lft deploy`, as a user types it, until `lft down`."""
    lft = [sys.executable, "-c", "from lft_ray.cli.app import main; main()"]
    begun = time.perf_counter()
    sets = [part for setting in ("serve.port=0", *settings) for part in ("--set", setting)]
    done = subprocess.run([*lft, "deploy", folders.run, *sets, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"lft deploy failed:\n{done.stderr[-2000:]}")
    endpoint = json.loads(done.stdout)
    try:
        process = psutil.Process(endpoint["process"]["pid"])
        yield Server(f"{endpoint['url'].rstrip('/')}/", text_bodies(texts), time.perf_counter() - begun, process)
    finally:
        subprocess.run([*lft, "down", folders.run], capture_output=True, check=False)


def load(server: Server, connections: tuple[int, ...], rates: tuple[int, ...]) -> Measured:
    """Warm a server up and load it."""
    asyncio.run(closed_loop(server.url, server.bodies, connections=8, seconds=WARM_S))
    closed, offered = {}, {}
    for count in connections:
        closed[count] = _facts(
            asyncio.run(closed_loop(server.url, server.bodies, connections=count, seconds=SECONDS)), server
        )
    most = max(facts["requests_per_s"] for facts in closed.values())
    for rate in rates:
        if rate > most:
            break  # It would only measure how long its queue is.
        offered[rate] = _facts(
            asyncio.run(open_loop(server.url, server.bodies, requests_per_s=rate, seconds=SECONDS)), server
        )
    return Measured(server.first_answer_s, server.memory_mb(), closed, offered)


def _facts(result: LoadResult, server: Server) -> dict[str, float]:
    if not result.ok:
        raise SystemExit(f"{server.url} answered nothing: {result.statuses}")
    return {
        "requests_per_s": result.requests_per_s,
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "failed": result.failed,
    }


def median(runs: list[Measured], connections: int, key: str = "requests_per_s") -> float:
    """Median over the rounds of one figure of a closed loop."""
    return statistics.median(run.closed[connections][key] for run in runs)


def table(found: dict[str, list[Measured]]) -> str:
    """The table of closed loops, in Markdown."""
    counts = list(next(iter(found.values()))[0].closed)
    heads = " | ".join(f"{n} conn: rps, p50 / p99 ms" for n in counts)
    lines = [f"| server | {heads} | first answer s | MB |", "|---" * (len(counts) + 3) + "|"]
    for name, runs in found.items():
        cells = " | ".join(
            f"{median(runs, n):.0f}, {median(runs, n, 'p50_ms'):.1f} / {median(runs, n, 'p99_ms'):.0f}" for n in counts
        )
        first = statistics.median(run.first_answer_s for run in runs)
        lines.append(f"| {name} | {cells} | {first:.1f} | {statistics.median(r.memory_mb for r in runs):.0f} |")
    return "\n".join(lines)


def open_table(found: dict[str, list[Measured]]) -> str:
    """The table of open loops, in Markdown."""
    rates = sorted({rate for runs in found.values() for run in runs for rate in run.open})
    if not rates:
        return ""
    heads = " | ".join(f"{rate}/s: p50 / p99 ms" for rate in rates)
    lines = ["", f"| server, open loop | {heads} |", "|---" * (len(rates) + 1) + "|"]
    for name, runs in found.items():
        cells = []
        for rate in rates:
            there = [run.open[rate] for run in runs if rate in run.open]
            middle = {key: statistics.median(facts[key] for facts in there) for key in ("p50_ms", "p99_ms") if there}
            cells.append(f"{middle['p50_ms']:.1f} / {middle['p99_ms']:.0f}" if there else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def row_of(found: dict[str, list[Measured]], left_out: list[str], *, quick: bool) -> dict[str, object]:
    """The JSON row: ratios of requests a second at 32 connections, ours over theirs."""

    def over(*names: str) -> float | None:
        theirs = [median(found[name], 32) for name in names if name in found]
        return round(median(found["ours"], 32) / max(theirs), 2) if theirs and "ours" in found else None

    return {
        "vs_ray_serve_example": over("ray_example_100"),
        "vs_fastapi_pipeline": over("fastapi_pipeline"),
        "vs_best_peer": over(*AS_SHIPPED),
        "vs_best_peer_same_engine": over(*SAME_ENGINE),
        "share_of_ceiling": over("bound"),
        "left_out": left_out,
        "servers": {name: [asdict(run) for run in runs] for name, runs in found.items()},
        "quick": quick,
    }


def read_run(uri: str, folder: Path) -> tuple[Folders, list[str]]:
    """Bundle and transformers folder of a run's winner, and at most 1,000 texts."""
    run = RunFolder.find(uri)
    dataset, selection, bundle = run.dataset(), run.selection(), run.bundle()
    if dataset is None or selection is None or bundle is None:
        raise SystemExit(f"{uri} is not a finished run with a bundle")
    winner = next(record for record in records_of(run) if record.trial_id == selection.winner.trial_id)
    hub = folder / "hub"
    write_hub_folder(Storage(winner.checkpoint_uri).local_folder(""), dataset.labels, hub)
    texts = load_split(dataset, "validation").texts[:1000]
    return Folders(run.uri, str(Storage(bundle.uri).local_folder("")), str(hub)), list(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--set", action="append", default=[f"serve.cpus_per_replica={os.cpu_count()}"])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    quick = arguments.quick
    names = [name for name in (*SERVERS, "ours") if not arguments.only or name in arguments.only.split(",")]
    left_out = [name for name in names if name != "ours" and SERVERS[name].interpreter() is None]
    found: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folders, texts = read_run(arguments.run, Path(scratch))
        for number in range(1 if quick else arguments.rounds):
            for name in names:
                if name in left_out:
                    continue
                server = ours(folders, texts, arguments.set) if name == "ours" else started(name, folders, texts)
                with server as live:
                    measured = load(live, QUICK if quick else CONNECTIONS, () if quick else RATES)
                found.setdefault(name, []).append(measured)
                rate = measured.closed[32]["requests_per_s"]
                print(f"round {number} {name:18} {rate:8.1f} requests/s at 32", file=sys.stderr, flush=True)
    print(table(found) + open_table(found))
    publish(row_of(found, left_out, quick=quick), RESULTS / "serving.jsonl")


if __name__ == "__main__":
    main()
