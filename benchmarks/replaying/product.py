"""lft_ray in the replay: its `Dispatcher`, `Proposer`, samplers and early-stopping rules, with an in-memory ledger."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from lft_ray.records import CurvePoint, ScoredVariant, TrialConfig, TrialRecord, TrialResult, TrialStatus, Usage
from lft_ray.run.ledger import Ledger, StartedTrial
from lft_ray.run.storage import Storage
from lft_ray.search import dispatcher as dispatching
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.interfaces import Queued, StudyPlan
from lft_ray.search.samplers.proposer import Proposer
from lft_ray.search.stopping.base import StopRule
from lft_ray.train.device.usage_notes import STATE, put_usage

from .clock import Started
from .start import Given
from .table import Curve

__all__ = ["MemoryStorage", "Product"]


class MemoryStorage(Storage):
    """An in-memory run folder: a replay writes some 200 records."""

    def __init__(self, uri: str = "memory://replay", files: dict[str, bytes] | None = None) -> None:
        super().__init__(uri)
        self._files: dict[str, bytes] = {} if files is None else files

    def child(self, *parts: str) -> "MemoryStorage":
        """A subfolder that shares the same files."""
        return MemoryStorage("/".join([self.uri, *parts]), self._files)

    def put(self, name: str, data: bytes | str) -> str:
        """Store a file."""
        self._files[self.uri_of(name)] = data.encode("utf-8") if isinstance(data, str) else data
        return self.uri_of(name)

    def get(self, name: str) -> bytes:
        """Return the content of a file."""
        if self.uri_of(name) not in self._files:
            raise FileNotFoundError(self.uri_of(name))
        return self._files[self.uri_of(name)]

    def exists(self, name: str = "") -> bool:
        """Whether the file exists."""
        return self.uri_of(name) in self._files

    def folders(self, name: str = "") -> list[str]:
        """Names of the direct subfolders."""
        start = f"{self.uri_of(name)}/" if name else f"{self.uri}/"
        below = (uri.removeprefix(start).split("/") for uri in self._files if uri.startswith(start))
        return sorted({parts[0] for parts in below if len(parts) > 1})

    def delete_folder(self, name: str = "") -> None:
        """Delete all files in a folder."""
        start = f"{self.uri_of(name)}/" if name else f"{self.uri}/"
        for uri in [uri for uri in self._files if uri.startswith(start)]:
            del self._files[uri]


@contextmanager
def _patience() -> Iterator[None]:
    """The simulated clock stands still while a proposal is made, however long: no running trial may report meanwhile.

    In a real search one may after a second, and the dispatcher says ``wait``.
    """
    usual, dispatching.PROPOSAL_WAIT_S = dispatching.PROPOSAL_WAIT_S, 3600.0
    try:
        yield
    finally:
        dispatching.PROPOSAL_WAIT_S = usual


class _Timed:
    """A proposer whose calls are timed, in processor seconds: a replay may share its core."""

    def __init__(self, proposer: Proposer) -> None:
        self.proposer = proposer
        self.seconds: list[float] = []

    def warm_up(self) -> None:
        """Do nothing: it would be repeated for every replay."""

    def propose(
        self,
        n: int,
        observed: Sequence[TrialRecord],
        pending: Sequence[TrialConfig],
        fits: Callable[[TrialConfig], bool] | None = None,
    ) -> TrialConfig | None:
        """Propose and record the CPU time."""
        began = time.thread_time()
        config = self.proposer.propose(n, observed, pending, fits)
        self.seconds.append(time.thread_time() - began)
        return config


class Product:
    """A search with lft_ray.

    Args:
        given: space, start table and costs.
        sampler: a key of lft_ray's samplers, or ``package.module:Name``.
        seed: seed of the search.
        rule: early-stopping rule; None: every trial runs to its end.
        workers: number of trials in parallel.
        on_grid: whether to propose only recorded learning rates.
        options: options of the sampler.
    """

    def __init__(
        self,
        given: Given,
        sampler: str,
        *,
        seed: int,
        rule: StopRule | None = None,
        workers: int = 2,
        on_grid: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.given = given
        admission = given.admission()
        proposer = Proposer(
            given.space(on_grid=on_grid),
            sampler,
            seed,
            given.known_cost,
            train_usd=admission.expected_usd,
            default_rate=given.default_rate,
            options=options,
        )
        self._timed = _Timed(proposer)
        self.suggestion_s = self._timed.seconds
        plan = StudyPlan(
            queue=tuple(Queued(config) for config in given.start),
            trials=10**6,
            slots=workers,
            # Results are observed as they arrive, like in a search limited by minutes or a budget.
            is_deterministic=False,
            rule=rule,
            known_cost=given.known_cost,
        )
        self.dispatcher = Dispatcher(Ledger(MemoryStorage()), plan, self._timed, self._priced, admission)
        self._live: dict[str, tuple[StartedTrial, list[CurvePoint]]] = {}
        self._usd: dict[str, float] = {}

    def next(self) -> Started | Literal["wait", "finished"]:
        """The trial that the dispatcher starts."""
        with _patience():
            trial = self.dispatcher.next()
        if not isinstance(trial, StartedTrial):
            return trial
        self._live[trial.trial_id] = (trial, [])
        return Started(trial.trial_id, trial.config)

    def point(self, trial_id: str, point: CurvePoint) -> str:
        """Pass the point to the dispatcher and return its reason to stop, as the Tune scheduler does."""
        self._live[trial_id][1].append(point)
        self.dispatcher.on_point(trial_id, point)
        return self.dispatcher.reason_to_stop(trial_id)

    def end(self, trial_id: str, curve: Curve, *, points: int, reason: str) -> None:
        """End the trial in the dispatcher with a worker's result, or with the usage saved before it was stopped."""
        trial, seen = self._live.pop(trial_id)
        seconds = float(curve.train_s[points - 1])
        self._usd[trial_id] = float(curve.usd[points - 1])
        usage = Usage(core_s=seconds, wall_s=seconds, train_s=seconds)
        if reason:
            put_usage(self.dispatcher.ledger.storage.child("trials", trial_id, STATE), "1", usage)
            self.dispatcher.end(trial_id, stopped=reason)
            return
        variant = ScoredVariant(precision="fp32", max_length=trial.config.max_length, f1=float(curve.f1[-1]))
        result = TrialResult(
            trial_id=trial_id,
            attempt=trial.attempt,
            config=trial.config,
            status=TrialStatus.DONE if curve.is_done else TrialStatus.INFEASIBLE,
            curve=seen,
            usage=usage,
            variants=[variant] if curve.is_done else [],
            started_at=trial.started_at,
        )
        self.dispatcher.end(trial_id, result=result)

    def close(self) -> None:
        """Shut down the dispatcher's thread."""
        self.dispatcher.close()

    def _priced(self, result: TrialResult, trial: StartedTrial) -> TrialRecord:
        usd = self.given.known_cost(result.config)
        fields = {name: getattr(result, name) for name in TrialResult.model_fields if name != "variants"}
        return TrialRecord(
            **fields,
            variants=[v.model_copy(update={"usd_per_million_predictions": usd}) for v in result.variants],
            role=trial.role,
            start=trial.start,
            training_usd=self._usd[result.trial_id],
        )
