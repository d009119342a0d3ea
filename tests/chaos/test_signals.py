"""A real ``lft search`` is interrupted at every stage: it says how to go on, ends soon, and leaves nothing behind."""

import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import lft_ray
from lft_ray.records import TrialRecord, TrialStatus
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from tests.chaos.command import Search, started
from tests.chaos.conftest import Row
from tests.chaos.injectors import temporary_folder
from tests.chaos.search import experiment_of

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.stress, pytest.mark.timeout(2400)]
PACKAGE = Path(lft_ray.__file__).parent
BEFORE_HANDLERS = {"__init__.py", "__main__.py", "cli/__init__.py", "cli/entry.py"}
"""Files that are read before the handlers of signals are there: a few milliseconds."""
END_S = 45.0
"""Bound on a busy machine. The promise is ten seconds at rest."""
AGAIN_S = 15.0
"""Bound after a second signal on a busy machine. The promise is two seconds at rest."""


def nothing(run: Path) -> None:
    """Before a stage that every start goes through."""


def without_stages(run: Path) -> None:
    """Let ``stages.json`` show what this start has done."""
    (run / "stages.json").unlink(missing_ok=True)


def without_confirmations(run: Path) -> None:
    """Let the finalists be confirmed again."""
    for folder in (run / "trials").glob("c*"):
        shutil.rmtree(folder)


def unfinished(run: Path) -> None:
    """Let a finished run select and report again."""
    without_stages(run)
    for name in ("finished.json", "selection.json", "report.html"):
        (run / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class Place:
    """A place in a search: how its files show it."""

    name: str
    reached: Callable[[Search], bool]
    delay_s: float = 0.0
    """Seconds from there to the signal."""
    before: Callable[[Path], None] = nothing


def imports(delay_s: float) -> Place:
    return Place(f"import, {delay_s:g} s", lambda search: True, delay_s)


PLACES = [
    imports(0.05),
    imports(0.1),
    imports(0.3),
    Place("lock", lambda search: (search.run / "driver.lock").exists()),
    Place("prepare", lambda search: search.at("experiment.yaml") or search.at("data")),
    Place("after prepare", lambda search: search.at("dataset.json")),
    Place("Ray's start", lambda search: search.has("gcs_server")),
    Place("Ray's start, raylet", lambda search: search.has("raylet")),
    Place("profile", lambda search: "profiling" in search.said()),
    Place("profile, 8 s", lambda search: "profiling" in search.said(), 8.0),
    Place("search", lambda search: search.at("profiles.json") and not search.runs_trial("t")),
    Place("trial", lambda search: search.runs_trial("t")),
    Place("trial, 4 s", lambda search: search.runs_trial("t"), 4.0),
    Place("confirm", lambda search: search.runs_trial("c"), before=without_confirmations),
    Place("end of Ray", lambda search: search.has_done("confirm"), before=unfinished),
    Place("select", lambda search: search.has_done("confirm") and not search.has("raylet"), before=unfinished),
    Place("report", lambda search: search.at("selection.json"), before=unfinished),
    Place("after report", lambda search: search.at("report.html"), before=unfinished),
]
QUICK = ("import, 0.3 s", "lock", "trial")


@dataclass
class Times:
    """Seconds to the end, by stage."""

    by_place: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.by_place.items())


def interrupt(search: Search, place: Place, number: int) -> tuple[float, bool]:
    """Send the signal at the place. Returns the seconds to the end, and whether the search had not ended before."""
    if not search.wait_until(place.reached, 240.0):
        return 0.0, False
    time.sleep(place.delay_s)
    began = time.monotonic()
    search.process.send_signal(number)
    code = search.end(END_S + 30)
    took_s = time.monotonic() - began
    said = search.said()
    # Python itself starts first, and ends in its own way: the command has not come to its handlers.
    begun = set(re.findall(rf'File "{re.escape(str(PACKAGE))}/([^"]+)"', said))
    is_python = place.name.startswith("import") and begun <= BEFORE_HANDLERS and "interrupted" not in said
    allowed = {128 + number, -number, 1} if is_python else {128 + number, 0}
    assert code in allowed, f"{place.name}: exit {code}\n{said[-3000:]}"
    assert took_s < END_S, place.name
    assert "Traceback" not in said or is_python, f"{place.name}\n{said[-3000:]}"
    if code == 0:
        return took_s, False
    if search.at("experiment.yaml") and not place.name.startswith("import"):
        assert "interrupted" in said, place.name
        assert "--resume" in said, f"{place.name}\n{said[-3000:]}"
    return took_s, True


def interrupted_everywhere(tmp_path: Path, tiny_bert: Path, number: int, places: list[Place], outcome: Row) -> Times:
    """Interrupt one run at each place in turn, resume it each time, and let it end at last."""
    experiment = experiment_of(tmp_path, tiny_bert, tmp_path / "runs", epochs=40)
    run, times = tmp_path / "runs" / "run", Times()
    known: dict[str, TrialRecord] = {}
    with temporary_folder() as temporary:
        for place in places:
            place.before(run)
            option = ["--resume"] if (run / "experiment.yaml").exists() else []
            with started(experiment, run, temporary, *option) as search:
                took_s, was_cut = interrupt(search, place, number)
                left = search.settled(20.0)
            now = {record.trial_id: record for record in records_of(run)}
            lost = sum(now.get(name) != record for name, record in known.items() if name.startswith("t"))
            known = now
            times.by_place[place.name if was_cut else f"({place.name})"] = took_s
            outcome.survive(lost=lost, left=len(left))
            outcome.note = str(times)
            assert left == [], f"{place.name}: {left}"
        unfinished(run)
        option = ["--resume"] if (run / "experiment.yaml").exists() else []
        with started(experiment, run, temporary, *option) as search:
            assert search.end(400) == 0, search.said()[-3000:]
            assert search.settled(20.0) == []
    records = {record.trial_id: record for record in records_of(run)}
    assert {"t000", "t001", "t002"} <= set(records)
    assert {record.status for record in records.values()} == {TrialStatus.DONE}
    assert (run / "report.html").exists()
    return times


def records_of(run: Path) -> list[TrialRecord]:
    return Ledger(Storage(run)).records() if (run / "trials").is_dir() else []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupted_search_says_how_to_go_on_and_leaves_nothing(tmp_path, tiny_bert, row, rounds, name):
    quick = [place for place in PLACES if place.name in QUICK]
    places = PLACES if rounds(2, 1) == 2 else quick if name == "SIGINT" else quick[1:2]
    with row(f"{name} of lft search at {len(places)} places; seconds to its end in the last column") as outcome:
        times = interrupted_everywhere(tmp_path, tiny_bert, getattr(signal, name), places, outcome)
    print(name, times)
    assert (outcome.lost, outcome.left) == (0, 0)
    assert outcome.injected == len(places)


@pytest.mark.parametrize("pause_s", [0.3, 2.0])
def test_a_second_interrupt_ends_the_search_at_once(tmp_path, tiny_bert, row, pause_s):
    experiment = experiment_of(tmp_path, tiny_bert, tmp_path / "runs", epochs=400)
    run = tmp_path / "runs" / "run"
    with row(f"SIGINT twice, {pause_s:g} s apart, in a trial") as outcome, temporary_folder() as temporary:
        with started(experiment, run, temporary) as search:
            assert search.wait_until(lambda s: s.runs_trial("t"), 240.0), search.said()
            search.process.send_signal(signal.SIGINT)
            time.sleep(pause_s)
            began = time.monotonic()
            search.process.send_signal(signal.SIGINT)
            code = search.end(AGAIN_S + 30)
            took_s = time.monotonic() - began
            left = search.settled(20.0)
        outcome.survive(left=len(left))
        outcome.seconds = took_s
        assert code == 130, search.said()[-3000:]
        assert took_s < AGAIN_S
        assert "--resume" in search.said()
        assert left == []
        with started(experiment, run, temporary, "--resume", "--set", "search.trials=2") as search:
            assert search.end(400) == 0, search.said()[-3000:]
