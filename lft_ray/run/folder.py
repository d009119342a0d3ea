"""The run folder ``<storage>/<name>``: all files of one study.

In: records. Out: files in the storage of the run, and records again. Never decides anything.

``experiment.yaml dataset.json candidates.json profiles.json trials/<id>/record.json front.json selection.json
cascades.json bundle.json bundle/ cascade/ report.html environment.json stages.json endpoint.json``
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from lft_ray.config import Experiment
from lft_ray.errors import ConfigError, InputError, first_problem, nearest
from lft_ray.processes import alive
from lft_ray.records import Bundle, Cascade, CascadeBook, DatasetRecord, Endpoint, ProfileBook, Record, Selection
from lft_ray.run.flock import COMMAND_LOCK, ENDPOINT_LOCK, live_holder
from lft_ray.run.storage import Storage

__all__ = ["RunFolder"]

RecordT = TypeVar("RecordT", bound=Record)

# Keys that may change when a search is resumed: none of them changes a trial that has finished.
_FREE_ON_RESUME = (
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

    @property
    def uri(self) -> str:
        """Absolute path or URI of the folder."""
        return self.storage.uri

    @classmethod
    def find(cls, uri: str | Path) -> "RunFolder":
        """Open an existing run.

        Raises:
            InputError: there is no run at ``uri``.
        """
        run = cls(uri)
        if not run.storage.exists("experiment.yaml"):
            text = str(uri).rstrip("/")
            parent, _, name = text.rpartition("/")
            others = Storage(parent or ".").folders() if run.storage.is_local else []
            raise InputError(
                f"no run at {text}: experiment.yaml is missing.{nearest(name, others)}",
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
        run = cls(experiment.run_uri)
        run.storage.check_writable()
        exists = run.storage.exists("experiment.yaml")
        if exists and replace:
            run._refuse_live()
            run.storage.delete_folder()
        elif exists and resume:
            run._check_same(experiment)
        elif exists:
            raise InputError(
                f"the run {run.uri} already exists",
                fix="add --resume to continue it, --replace to start over, or change `name`",
            )
        run.storage.put("experiment.yaml", experiment.to_yaml())
        return run

    def experiment(self) -> Experiment:
        """Read the resolved experiment of this run."""
        tree = yaml.safe_load(self.storage.get("experiment.yaml").decode("utf-8"))
        return Experiment.parse(tree, source=self.storage.uri_of("experiment.yaml"))

    # ------------------------------------------------------------ records

    def put(self, name: str, record: Record) -> None:
        """Write a record as JSON."""
        self.storage.put(name, record.model_dump_json(indent=1))

    def get(self, name: str, kind: type[RecordT]) -> RecordT:
        """Read a record.

        Raises:
            InputError: the file is missing, damaged or of another version.
        """
        try:
            return kind.model_validate_json(self.storage.get(name))
        except FileNotFoundError:
            raise InputError(f"{self.uri} has no {name}", fix="`lft search ... --resume` finishes the run") from None
        except ValidationError as error:
            raise InputError(f"{self.storage.uri_of(name)} cannot be read: {first_problem(error)}") from None

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

    def winner_bundle(self) -> str | None:
        """URI of the winner's bundle if it has been exported; without a selection, of the bundle that is there.

        Never the recorded URI: the run may have been moved, or be a copy.
        """
        bundle, selection = self.bundle(), self.selection()
        if bundle is None or not self.storage.exists("bundle"):
            return None
        is_winner = selection is None or bundle.trial_id == selection.winner_seed_trial_id
        return self.storage.uri_of("bundle") if is_winner else None

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
        """Read plain JSON; an empty dictionary if the file is missing."""
        return json.loads(self.storage.get(name)) if self.storage.exists(name) else {}

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
        stages: dict[str, float] = self.json("stages.json")
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
            raise InputError(f"{self.uri} serves a live endpoint: {holder}", fix=f"`lft down {self.uri}` first")
        endpoint = self.find_record("endpoint.json", Endpoint)
        if endpoint is None or endpoint.state == "stopped":
            return
        if endpoint.address or (endpoint.process is not None and alive(endpoint.process)):
            raise InputError(f"{self.uri} serves a live endpoint", fix=f"`lft down {self.uri}` first")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{path}.")
        else:
            flat[path] = value
    return flat
