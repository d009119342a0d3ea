"""The run folder ``<storage>/<name>``: all files of one study.

In: records. Out: files in the storage of the run, and records again. Never decides anything.

``experiment.yaml dataset.json candidates.json profiles.json trials/<id>/record.json front.json selection.json
cascades.json bundle.json bundle/ cascade/ exports/<trial> report.html environment.json stages.json endpoint.json``

All paths in these files are relative to the folder, so that a run that was moved or copied reads its own files.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lft_ray.config import Experiment
from lft_ray.config.former import as_begun
from lft_ray.config.load import with_current_names
from lft_ray.errors import ConfigError, DamagedFileError, InputError, LftError, first_line, nearest
from lft_ray.processes import alive
from lft_ray.records import Bundle, Cascade, CascadeBook, DatasetRecord, Endpoint, ProfileBook, Record, Selection
from lft_ray.run.files import RESTORE, read_json, read_notes, read_record, set_aside, write_record
from lft_ray.run.flock import COMMAND_LOCK, ENDPOINT_LOCK, live_holder
from lft_ray.run.litter import Replaced, sweep
from lft_ray.run.lock import DriverLock, exclusive
from lft_ray.run.storage import Storage
from lft_ray.system.text import printable, quoted

__all__ = ["RunFolder"]

RecordT = TypeVar("RecordT", bound=Record)
_Environment = dict[str, str | list[dict[str, str]]]

# Keys that may change when a search is resumed: none of them changes a trial that has finished. The first two are where
# the folder lies, which may have been moved or renamed.
_FREE_ON_RESUME = (
    "name",
    "storage",
    "search.trials",
    "search.minutes",
    "search.budget_usd",
    "search.concurrency",
    "search.object_store_mb",
    "selection",
    "serve",
    "cluster",
    "cost",
)

_FIXES = {
    "selection.json": f"{RESTORE}, or delete it: `lft search ... --resume` selects again",
    "bundle.json": f"{RESTORE}, or delete it: `lft export` writes the bundle again",
    "profiles.json": f"{RESTORE}, or delete it: `lft search ... --resume` measures again",
    "endpoint.json": "stop the process it names and delete the file",
}
"""File -> what to do about its damage, where more than a backup helps."""


_RUNS_NAMED = 10
"""Runs that a message names."""


class RunFolder:
    """One run, opened by its URI.

    Args:
        uri: folder path or URI; it need not exist yet.

    Attributes:
        on_stage: called with the name of each stage when it starts in this process; None: not called.
    """

    def __init__(self, uri: str | Path) -> None:
        self.storage = Storage(uri)
        self.on_stage: Callable[[str], None] | None = None
        self._settled = False
        self._replaced: Replaced | None = None

    @property
    def uri(self) -> str:
        """Absolute path or URI of the folder."""
        return self.storage.uri

    @property
    def typed(self) -> str:
        """What a user types to name this run."""
        return self.uri

    def search_command(self) -> str:
        """The command that continues this run where its folder lies now, and not the one from which it was copied."""
        words = ["lft", "search", f"{self.uri}/experiment.yaml"]
        if self.storage.exists("experiment.yaml") and Storage(self.experiment().run_uri).uri != self.uri:
            storage, _, name = self.uri.rpartition("/")
            words += ["--set", f"storage={storage}", "--set", f"name={name}"]
        return " ".join(quoted(word) for word in [*words, "--resume"])

    @classmethod
    def find(cls, uri: str | Path) -> "RunFolder":
        """Open an existing run.

        Raises:
            InputError: there is no run at ``uri``.
        """
        if not str(uri).strip():
            raise InputError("no run was named: its path is empty", fix="name a run folder, such as runs/news")
        run = cls(uri)
        if not run.storage.exists("experiment.yaml"):
            text = str(uri).rstrip("/") or str(uri)
            raise InputError(
                f"no run at {printable(text)!r}: {_why_no_run(run.storage)}",
                fix="`lft search EXPERIMENT.yaml` creates a run",
            )
        return run

    @classmethod
    def begin(cls, experiment: Experiment, *, resume: bool, replace: bool) -> "RunFolder":
        """Create the folder of a new run, or open an existing one.

        Args:
            experiment: the resolved experiment.
            resume: continue an existing run; its experiment must be the same except for budgets, selection and serving.
            replace: delete an existing run first.

        Raises:
            InputError: the run exists and neither flag is given, storage cannot be written, or the experiment to
                resume differs.
        """
        with cls.driven(experiment, resume=resume, replace=replace) as run:
            return run

    @classmethod
    @contextmanager
    def driven(
        cls,
        experiment: Experiment,
        *,
        resume: bool,
        replace: bool,
        log: Callable[[str], None] = lambda text: None,
    ) -> Iterator["RunFolder"]:
        """Drive a run for the block: `begin` under the driver lock, which is taken before anything is touched.

        A resume keeps the recorded values of keys that the file leaves out and whose defaults have changed since: the
        block goes on with what ``run.experiment()`` says.

        A start that is refused before its run was `settled` (bad data, a cluster that cannot be reached) leaves no half
        run folder, and puts back the run that it was to replace.

        Args:
            experiment: the resolved experiment.
            resume: as for `begin`.
            replace: as for `begin`.
            log: told, in one sentence, why taking the lock takes long, and that there is nothing to resume.

        Raises:
            InputError: as for `begin`, or another live driver holds the run.
        """
        if resume and replace:
            raise InputError(
                "--replace deletes the run that --resume and --retry-failed continue", fix="give one or the other"
            )
        run = cls(experiment.run_uri)
        was_there = run.storage.exists("")
        lock = DriverLock(run.storage, log)
        try:
            with lock:
                run.storage.must_exist()
                sweep(run.storage)
                existed = run.storage.exists("experiment.yaml")
                if resume and not existed:
                    log(f"there is no run at {run.uri} to continue: it begins now")
                run._open(experiment, resume=resume, replace=replace)
                try:
                    yield run
                except LftError:
                    if not run._settled and (replace or not existed):
                        run._undo()
                    raise
                run.settle()
        finally:
            if not was_there:
                run.storage.delete_if_unused()

    def _open(self, experiment: Experiment, *, resume: bool, replace: bool) -> None:
        exists = self.storage.exists("experiment.yaml")
        if exists and replace:
            self._refuse_live()
            with exclusive(self.storage, "export"):
                self._replaced = Replaced.put_aside(self.storage)
        elif exists and resume:
            experiment = as_begun(experiment, self.experiment())
            self._check_same(experiment)
        elif exists:
            raise InputError(
                f"the run {self.uri} already exists",
                fix="add --resume to continue it, --replace to start over, or change `name`",
            )
        self.storage.put("experiment.yaml", experiment.to_yaml())

    def settle(self) -> None:
        """Keep the run from now on, whatever happens, and delete the run that it replaces."""
        self._settled = True
        if self._replaced is not None:
            self._replaced.delete()
            self._replaced = None

    def _undo(self) -> None:
        """Remove what a refused start has written, and put back the run that it was to replace."""
        self.storage.clear()
        if self._replaced is not None:
            self._replaced.put_back()
            self._replaced = None

    def experiment(self) -> Experiment:
        """Read the resolved experiment of this run.

        Raises:
            InputError: the file is missing, damaged or of another version.
        """
        name, uri = "experiment.yaml", self.storage.uri_of("experiment.yaml")
        try:
            tree = yaml.safe_load(self.storage.get(name).decode("utf-8"))
        except FileNotFoundError:
            raise InputError(f"{self.uri} has no {name}", fix=RESTORE) from None
        except UnicodeDecodeError as error:
            raise DamagedFileError(
                f"{uri} is damaged: it is not UTF-8 text (byte {error.start})", fix=RESTORE
            ) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise DamagedFileError(f"{uri} is damaged: {first_line(error)}", fix=RESTORE) from None
        except OSError as error:
            raise DamagedFileError(f"{uri} cannot be read: {error.strerror or error}", fix=RESTORE) from error
        if not isinstance(tree, dict):
            raise DamagedFileError(f"{uri} is damaged: it is not a mapping of keys", fix=RESTORE)
        return Experiment.parse(with_current_names(tree), source=uri)

    # ------------------------------------------------------------ records

    def put(self, name: str, record: Record) -> None:
        """Write a record as JSON, with paths relative to the run folder."""
        write_record(self.storage, name, record)

    def get(self, name: str, kind: type[RecordT]) -> RecordT:
        """Read a record.

        Raises:
            InputError: the file is missing, damaged or of another version.
        """
        try:
            return read_record(self.storage, name, kind, fix=_FIXES.get(name, RESTORE))
        except FileNotFoundError:
            raise InputError(f"{self.uri} has no {name}", fix="`lft search ... --resume` finishes the run") from None

    def find_record(self, name: str, kind: type[RecordT]) -> RecordT | None:
        """Read a record; None if the stage that writes it has not run."""
        return self.get(name, kind) if self.storage.exists(name) else None

    def dataset(self) -> DatasetRecord | None:
        """Read the record of stage ``prepare``."""
        return self.find_record("dataset.json", DatasetRecord)

    def profiles(self) -> ProfileBook | None:
        """Read the record of stage ``profile``."""
        return self.find_record("profiles.json", ProfileBook)

    def selection(self) -> Selection | None:
        """Read the record of stage ``select``."""
        return self.find_record("selection.json", Selection)

    def bundle(self) -> Bundle | None:
        """Read the record of stage ``export``."""
        return self.find_record("bundle.json", Bundle)

    def environment(self) -> dict[str, str]:
        """Versions and machine under which the run was last driven; empty if the file is missing or unreadable."""
        found: _Environment = read_notes(self.storage, "environment.json", _Environment)
        return {name: value for name, value in found.items() if isinstance(value, str)}

    def earlier_environments(self) -> list[dict[str, str]]:
        """What older trials ran under, where that differs: the same keys, and ``trials`` with their ids."""
        found: _Environment = read_notes(self.storage, "environment.json", _Environment)
        earlier = found.get("earlier", [])
        return earlier if isinstance(earlier, list) else []

    def environments(self) -> dict[str, str | dict[str, str]]:
        """Versions and machine, and below ``trials ...`` what differed for older trials, for reports."""
        now = self.environment()
        shown: dict[str, str | dict[str, str]] = dict(now)
        for entry in self.earlier_environments():
            differing = {name: value for name, value in entry.items() if name != "trials" and now.get(name) != value}
            shown[f"trials {entry.get('trials', '')}"] = differing
        return shown

    def note_environment(self, facts: dict[str, str]) -> None:
        """Record the versions and the machine of this driver; what finished trials ran under before is kept."""
        before, earlier = self.environment(), self.earlier_environments()
        if not before and self.storage.exists("environment.json"):
            set_aside(self.storage, "environment.json")
        if before and before != facts:
            known = {name for entry in earlier for name in entry.get("trials", "").split(", ")}
            ended = [n for n in self.storage.folders("trials") if self.storage.exists(f"trials/{n}/record.json")]
            trials = [name for name in ended if name not in known]
            if trials:
                earlier = [*earlier, {"trials": ", ".join(trials), **before}]
        self.put_json("environment.json", {**facts, **({"earlier": earlier} if earlier else {})})

    def endpoint(self) -> Endpoint | None:
        """Read the record of the endpoint; None if there has never been one."""
        return self.find_record("endpoint.json", Endpoint)

    def cascades(self) -> list[Cascade]:
        """Read all cascades of the run, the latest last."""
        book = self.find_record("cascades.json", CascadeBook)
        return book.cascades if book is not None else []

    def add_cascade(self, cascade: Cascade) -> None:
        """Add a cascade, replacing an earlier one of the same pair."""
        others = [known for known in self.cascades() if (known.small, known.large) != (cascade.small, cascade.large)]
        self.put("cascades.json", CascadeBook(cascades=[*others, cascade]))

    def put_json(self, name: str, value: Any) -> None:
        """Write plain JSON."""
        self.storage.put(name, json.dumps(value, indent=1, sort_keys=True))

    def json(self, name: str) -> Any:
        """Read plain JSON; an empty dictionary if the file is missing.

        Raises:
            DamagedFileError: the file cannot be read, or is not valid JSON.
        """
        try:
            return read_json(self.storage, name)
        except FileNotFoundError:
            return {}

    def stage_seconds(self) -> dict[str, float]:
        """Wall seconds by stage; empty, and a warning, if the file is unreadable: bookkeeping stops no command."""
        found: dict[str, float] = read_notes(self.storage, "stages.json", dict[str, float])
        return found

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the wall time of the block, also when it fails."""
        if self.on_stage is not None:
            self.on_stage(name)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add_stage_seconds(name, time.perf_counter() - started)

    def add_stage_seconds(self, stage: str, seconds: float) -> None:
        """Add to the recorded wall seconds of a stage; a resumed stage accumulates."""
        # Seconds are bookkeeping: a disk that cannot be written is reported by what must be written.
        with suppress(OSError):
            stages = self.stage_seconds()
            if not stages and self.storage.exists("stages.json"):
                set_aside(self.storage, "stages.json")
            stages[stage] = round(stages.get(stage, 0.0) + seconds, 2)
            self.put_json("stages.json", stages)

    # ------------------------------------------------------------ guards

    def _check_same(self, experiment: Experiment) -> None:
        old, new = (_flat(e.model_dump(mode="json")) for e in (self.experiment(), experiment))
        changed = [
            f"  - {key}: was {old.get(key)!r}, now {new.get(key)!r}"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key) and not key.startswith(_FREE_ON_RESUME)
        ]
        if changed:
            raise ConfigError(
                f"{self.uri} cannot be resumed with another experiment:\n" + "\n".join(changed),
                fix="undo these changes, or give the experiment another `name`",
            )

    def _refuse_live(self) -> None:
        locks = [Path(self.uri) / name for name in (ENDPOINT_LOCK, COMMAND_LOCK)] if self.storage.is_local else []
        holder = next((found for path in locks if (found := live_holder(path)) is not None), None)
        if holder is not None:
            raise InputError(f"{self.uri} serves a live endpoint: {holder}", fix=f"`lft down {quoted(self.uri)}` first")
        endpoint = self.find_record("endpoint.json", Endpoint)
        if endpoint is None or endpoint.state == "stopped":
            return
        if endpoint.address or (endpoint.process is not None and alive(endpoint.process)):
            raise InputError(f"{self.uri} serves a live endpoint", fix=f"`lft down {quoted(self.uri)}` first")


def _why_no_run(storage: Storage) -> str:
    """What is there instead of a run, with the runs that may be meant."""
    if not storage.is_local:
        return "experiment.yaml is missing"
    path = Path(storage.uri)
    if storage.exists() and path.is_file():
        return "this is a file, a run is a folder"
    inside = [name for name in storage.folders() if storage.exists(f"{name}/experiment.yaml")]
    if inside:
        return f"experiment.yaml is missing. Runs in this folder: {', '.join(map(printable, inside[:_RUNS_NAMED]))}"
    beside = Storage(path.parent)
    others = [name for name in beside.folders() if name != path.name and beside.exists(f"{name}/experiment.yaml")]
    return f"experiment.yaml is missing.{nearest(path.name, others)}"


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{path}.")
        else:
            flat[path] = value
    return flat
