"""Measurements of earlier runs on this machine that apply to a new experiment. In: run folders. Reads only.

A serving profile is reused for the same model size, precision, maximum length and replica cores if the texts have about
the same length; a TF-IDF profile, whose cost is its vocabulary, only for the same data. Finished trials show how fast
this machine trains.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from lft_ray.candidates import Candidates
from lft_ray.cluster.environment import machine
from lft_ray.config import ServeSpec
from lft_ray.cost.forecast import mean_tokens, schedule_share
from lft_ray.engines.build import serving_engine
from lft_ray.errors import LftError
from lft_ray.models.floors import FLOORS
from lft_ray.records import DatasetRecord, IngressProfile, ProfileBook, ServingProfile, TrialStatus, Usage
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.search.budget.workload import Workload

__all__ = ["RunHistory", "load_history"]

_FLOOR_ENGINES = {floor.engine for floor in FLOORS.values()}
MAX_RUNS_READ = 20
"""Maximum run folders read, in the order of their names: more would make a plan slow."""
LENGTH_TOLERANCE = 0.1
"""Maximum relative difference of mean tokens for texts of equal length: repeated profiles vary as much."""


@dataclass(slots=True)
class RunHistory:
    """Measurements that can be reused.

    Attributes:
        profiles: serving profiles by (model size, precision, max length).
        ingress: ingress profile of the first run that contributed a profile.
        profiled_in: URIs of the runs that contributed profiles.
        trials: (FLOPs, usage, device) of finished trials.
        trained_in: URI of the run that contributed the trials.
    """

    profiles: dict[tuple[str, str, int], ServingProfile] = field(default_factory=dict)
    ingress: IngressProfile | None = None
    profiled_in: list[str] = field(default_factory=list)
    trials: list[tuple[float, Usage, str]] = field(default_factory=list)
    trained_in: str = ""

    @property
    def book(self) -> ProfileBook | None:
        """The profiles as a profile book; None if there are none."""
        if self.ingress is None:
            return None
        return ProfileBook(ingress=self.ingress, profiles=list(self.profiles.values()))


def load_history(run_uri: str, dataset: DatasetRecord, *, max_length: int, serve: ServeSpec) -> RunHistory:
    """Collect measurements on this machine, from this run's folder first and then from its sibling folders.

    Args:
        run_uri: URI of the planned run.
        dataset: prepared dataset of the planned run.
        max_length: maximum tokens per text.
        serve: serving config of the planned run.
    """
    found = RunHistory()
    for run in _runs(run_uri):
        # Runs of another version and damaged runs are skipped; `lft status` reports what is wrong with them.
        with suppress(LftError, OSError):
            _add_run(found, run, dataset, max_length, serve)
    return found


def _runs(run_uri: str) -> Iterator[RunFolder]:
    storage, _, own = run_uri.rpartition("/")
    parent = Storage(storage)
    names = [own]
    if parent.is_local:
        names = [own, *(name for name in parent.folders() if name != own)][:MAX_RUNS_READ]
    for name in names:
        run = RunFolder(f"{storage}/{name}")
        if run.storage.exists("profiles.json"):
            yield run


def _add_run(found: RunHistory, run: RunFolder, dataset: DatasetRecord, max_length: int, serve: ServeSpec) -> None:
    data, book = run.dataset(), run.profiles()
    if data is None or book is None or book.ingress.machine != machine():
        return
    tokens = mean_tokens(dataset, max_length)
    similar_length = abs(mean_tokens(data, max_length) - tokens) <= LENGTH_TOLERANCE * tokens
    for profile in book.profiles:
        key = (profile.model_size, profile.precision, profile.max_length)
        needs_same_data = profile.engine in _FLOOR_ENGINES
        applies = data.fingerprint == dataset.fingerprint if needs_same_data else similar_length
        if applies and key not in found.profiles and _has_same_replica(profile, serve):
            found.profiles[key] = profile
            found.ingress = found.ingress or book.ingress
            if run.uri not in found.profiled_in:
                found.profiled_in.append(run.uri)
    if not found.trials:
        found.trials = _finished(run, data)
        found.trained_in = run.uri if found.trials else ""


def _has_same_replica(profile: ServingProfile, spec: ServeSpec) -> bool:
    """Whether a replica of the experiment would use the same engine, cores and preset."""
    engine = profile.engine if profile.engine in _FLOOR_ENGINES else serving_engine("torch", profile.precision)
    return (profile.engine, profile.threads, profile.preset) == (engine, spec.cpus_per_replica, spec.preset)


def _finished(run: RunFolder, data: DatasetRecord) -> list[tuple[float, Usage, str]]:
    records = [r for r in Ledger(run.storage).records() if r.status is TrialStatus.DONE]
    if not records:
        return []
    candidates, training = Candidates.of_run(run), run.experiment().training
    work = {on_gpu: Workload.of(candidates, data, training, on_gpu=on_gpu) for on_gpu in (False, True)}
    found = []
    for record in records:
        workload = work[record.usage.device_s > 0.0]
        if record.config.model_size in workload.sizes:
            flops = workload.flops(record.config, records) * schedule_share(record)
            found.append((flops, record.usage, workload.device(record.config)))
    return found
