"""A search and an endpoint side by side on one machine for many minutes, and each minute something is killed.

``CHAOS_SOAK_MINUTES`` says for how long; 30 with ``CHAOS=full``, otherwise it is skipped.
"""

import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from lft_ray.config import ServeSpec
from lft_ray.records import Endpoint, TrialRecord
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.serve.cluster.environment import haproxy_binary
from lft_ray.serve.endpoint.deploy import deploy, down
from tests.chaos.endpoint_faults import Clients, hit, litter, processes, recorded
from tests.chaos.injectors import descendants, find, temporary_folder, users_of, wait_for
from tests.chaos.search import experiment_of
from tests.chaos.test_driver_kills import essence, records_of
from tests.serve.conftest import bundles as bundles

MINUTES = float(os.environ.get("CHAOS_SOAK_MINUTES", 30 if os.environ.get("CHAOS") == "full" else 0))
EVERY_S = 60.0
LOOK_S = 2.0
RECOVERED_S = 240.0
"""Bound on a machine that searches beside it."""
GROWTH_BYTES = 30_000_000
"""The supervisor holds 45 MB; a leak of 1 MB a minute would be found in half an hour."""
CONNECTING = "Failed to register worker to Raylet"
OF_SEARCH = ("driver", "trial", "search raylet", "search gcs")
OF_ENDPOINT = ("replica", "haproxy", "manager", "raylet", "controller", "child")
"""As `tests.chaos.endpoint_faults` names them."""
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.chaos,
    pytest.mark.stress,
    pytest.mark.slow,
    pytest.mark.timeout(MINUTES * 60 + 1800),
    pytest.mark.skipif(not MINUTES, reason="CHAOS_SOAK_MINUTES is not set"),
    pytest.mark.skipif(haproxy_binary() is None, reason="the stand-in is a HAProxy"),
]


@dataclass
class Searches:
    """Searches one after the other; one that was cut off is started again, and goes on.

    Attributes:
        folder: where their experiments and runs are.
        base: model that they train.
        temporary: TMPDIR of all of them.
        ends: exit codes of the drivers so far.
        lost: finished trials that were gone or changed when they were looked at.
    """

    folder: Path
    base: Path
    temporary: Path
    number: int = 0
    ends: list[int] = field(default_factory=list)
    lost: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    _known: dict[str, TrialRecord] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return self.folder / "runs" / f"run-{self.number}"

    def experiment(self, storage: str = "runs") -> Path:
        """Experiment of this number; each has a seed of its own."""
        path = experiment_of(self.folder, self.base, self.folder / storage, trials=5, epochs=60, checkpoint_every_s=1.0)
        tree = json.loads(path.read_text())
        tree |= {"name": self.run.name, "search": tree["search"] | {"seed": self.number}}
        path.write_text(json.dumps(tree))
        return path

    def start(self, storage: str = "runs") -> None:
        command = [sys.executable, "-m", "tests.chaos.search", str(self.experiment(storage))]
        with (self.folder / f"said-{self.number}.txt").open("ab") as words:
            environment = {**os.environ, "TMPDIR": str(self.temporary)}
            self.process = subprocess.Popen(command, stdout=words, stderr=words, env=environment)

    def look(self) -> None:
        """Compare what has finished with what had, and go on where a driver has ended."""
        now = records_of(self.run) if (self.run / "trials").is_dir() else {}
        self.lost += sum(now.get(name) != record for name, record in self._known.items())
        self._known = now
        if self.process is not None and (code := self.process.poll()) is not None:
            self.ends.append(code)
            if code == 0:
                self.number, self._known = self.number + 1, {}
            self.start()

    def finish(self) -> None:
        """Let the search of now end, undisturbed."""
        for _ in range(4):
            assert self.process is not None
            code = self.process.wait(600)
            self.ends.append(code)
            if code == 0:
                return
            self.start()
        raise AssertionError((self.folder / f"said-{self.number}.txt").read_text()[-3000:])

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for other in users_of(self.temporary):
            with suppress(psutil.Error):
                other.kill()

    def hit(self, kind: str) -> int:
        """Kill a process of the search of now. Returns its id; raises AssertionError where there is none."""
        assert self.process is not None
        if kind == "driver":
            pid = self.process.pid
        elif kind == "trial":
            pid = next(iter(_training(self.process.pid)), 0)
            assert pid, "no trial runs"
        else:
            pid = find(self.process.pid, {"search raylet": "raylet", "search gcs": "gcs_server"}[kind]).pid
        os.kill(pid, signal.SIGKILL)
        return pid


def _training(pid: int) -> list[int]:
    found = []
    for process in descendants(pid):
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if "ray::ImplicitFunc" in words:
                found.append(process.pid)
    return found


def strike(kind: str, searches: Searches, endpoint: Endpoint) -> bool:
    """Kill a process of this kind. Returns whether there was one."""
    try:
        searches.hit(kind) if kind in OF_SEARCH else hit(endpoint, kind)
    except (AssertionError, IndexError, ProcessLookupError, psutil.Error):
        return False
    return True


def kinds_in_turn(place: random.Random) -> list[str]:
    """Every kind of both, at random, one of the search after one of the endpoint: a short run meets both."""
    ours, others = (place.sample(kinds, len(kinds)) for kinds in (OF_SEARCH, OF_ENDPOINT))
    return [kind for pair in itertools.zip_longest(ours, others) for kind in pair if kind is not None]


def soak(searches: Searches, endpoint: Endpoint, place: random.Random) -> tuple[Counter[str], list[int]]:
    """Kill something each minute. Returns how often what was killed, and the memory of the supervisor in between."""
    began, struck, sizes = time.monotonic(), Counter[str](), []
    ahead: list[str] = []
    next_at = began + EVERY_S / 2
    while time.monotonic() < began + MINUTES * 60:
        time.sleep(LOOK_S)
        searches.look()
        sizes.append(psutil.Process(endpoint.pid).memory_info().rss)
        if time.monotonic() < next_at:
            continue
        ahead = ahead or kinds_in_turn(place)
        if strike(ahead[0], searches, endpoint):
            struck[ahead.pop(0)] += 1
            next_at += EVERY_S
    return struck, sizes


def check_memory(sizes: list[int]) -> None:
    """Refuse memory of the supervisor that grows from one half of the time to the other."""
    half = len(sizes) // 2
    first, last = statistics.median(sizes[:half]), statistics.median(sizes[half:])
    assert last - first < GROWTH_BYTES, f"the supervisor grew from {first / 1e6:.0f} to {last / 1e6:.0f} MB"


def test_a_search_and_an_endpoint_survive_a_kill_each_minute(tmp_path, tiny_bert, bundles, row):
    run, place = tmp_path / "served", random.Random(17)
    with row(f"{MINUTES:g} minutes of a search and an endpoint, a random kill -9 each minute") as outcome:
        endpoint = deploy(run, bundles["first"], ServeSpec(port=0, grpc_port=0), wait_s=200)
        with temporary_folder() as temporary:
            searches = Searches(tmp_path, tiny_bert, temporary)
            try:
                searches.start()
                with Clients(endpoint.url, count=1) as clients:
                    struck, sizes = soak(searches, endpoint, place)
                    wait_for(lambda: recorded(run).state == "ready", timeout_s=RECOVERED_S, what="ready again")
                    clients.back(time.monotonic(), RECOVERED_S)
                searches.finish()
                ended = essence(records_of(searches.run))
                searches.start("calm")
                assert searches.process.wait(600) == 0
                wait_for(lambda: not users_of(temporary), timeout_s=60, what="all processes of the searches have ended")
                # Torch's cache is no folder of ours: `tests.chaos.search` has no folder of its own, as the command has.
                left = [str(path) for path in temporary.glob("lft-*")]
            finally:
                searches.stop()
                down(run)
        left += litter(endpoint)
        calm = essence({r.trial_id: r for r in Ledger(Storage(tmp_path / "calm" / searches.run.name)).records()})
        differing = [name for name in calm.keys() | ended.keys() if calm.get(name) != ended.get(name)]
        wrong = {status: n for status, n in clients.statuses().items() if status not in (0, 200, 503)}
        outcome.injected, outcome.lost = struck.total(), searches.lost + len(differing) + sum(wrong.values())
        outcome.left = len(left)
        outcome.survived = outcome.injected if not (outcome.lost or outcome.left) else 0
        memory = f"supervisor {sizes[0] / 1e6:.0f} to {sizes[-1] / 1e6:.0f} MB, {searches.number} searches finished"
        outcome.note = f"{dict(clients.statuses())}; {dict(struck)}; {memory}; drivers ended {searches.ends}"
    assert (searches.lost, differing, wrong, left) == (0, [], {}, [])
    # A raylet that dies while the driver connects ends it in Ray's C++ code, with Ray's words: no line of ours runs.
    told = [words for path in tmp_path.glob("said-*.txt") if CONNECTING in (words := path.read_text())]
    assert searches.ends.count(1) <= len(told)
    assert set(searches.ends) <= {0, -9, 4, 1}
    # Refused is for the moment between the death of HAProxy and the stand-in's start.
    refused = [answer for answer in clients.answers if "refused" in answer.detail]
    assert len(refused) <= 100 * (struck["haproxy"] + struck["manager"]), "the port stays open"
    assert struck.total() >= int(MINUTES) - 2
    assert not processes(endpoint) if psutil.pid_exists(endpoint.pid) else True
    check_memory(sizes)
