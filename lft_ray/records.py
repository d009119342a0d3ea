"""Records that pass between the stages: data, serving cost, trials, selection, bundles and endpoints.

In: JSON. Out: frozen pydantic models, and JSON again, so that any stage can be rerun alone, on another machine. A
record holds what was measured or decided. Never computes.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from lft_ray.config.base import check_names
from lft_ray.config.serving import ServeSpec
from lft_ray.processes import ProcessIdentity

__all__ = [
    "Bundle", "CanaryRecord", "Cascade", "CascadeBook", "CurvePoint", "DatasetRecord", "Endpoint", "FrontPoint",
    "IngressProfile", "JudgedPoint", "LadderRow", "PrecisionCheck", "PricedVariant", "Problem", "ProfileBook",
    "Record", "Role", "ScoredVariant", "Selection", "ServingProfile", "SplitRecord", "TrialConfig", "TrialRecord",
    "TrialResult", "TrialStatus", "Usage", "Variant", "now_utc",
]  # fmt: skip

Role = Literal["search", "confirm"]
"""Purpose of a trial: search for a configuration, or confirm a finalist with a fresh seed."""


def now_utc() -> str:
    """Return the current time as an ISO 8601 string in UTC, with a resolution of one second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Record(BaseModel):
    """Base of all records: frozen; unknown keys are errors: a file of another version is refused, not misread."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises:
            TypeError: a name is not a field; pydantic's own `model_copy` silently accepts any name.
        """
        check_names(type(self), changes)
        return self.model_copy(update=changes)


# ---------------------------------------------------------------- data


class Problem(Record):
    """One finding of the data check: an ``error`` stops the run, a ``warning`` is counted and shown."""

    severity: Literal["error", "warning"]
    code: str
    """Short, stable identifier, such as ``duplicate_text``."""
    message: str
    file: str = ""
    row: int | None = None
    """Line number, counted from 1 with the header as line 1 (CSV), or row number, counted from 1 (Parquet)."""
    count: int = 1
    fix: str = ""


class SplitRecord(Record):
    """One split as an Arrow IPC file with the columns ``row_id``, ``text`` and ``target``."""

    name: Literal["train", "validation", "test"]
    uri: str
    rows: int
    label_counts: dict[str, int]


class DatasetRecord(Record):
    """The prepared data: labels, splits and findings of the data check."""

    fingerprint: str
    """sha256 over task, columns, labels and the rows of all splits; equal data has an equal fingerprint."""
    source_files: dict[str, str]
    """File -> sha256 of its bytes; a resume refuses changed files."""
    task_kind: str
    text_column: str
    label_column: str
    labels: list[str]
    splits: dict[str, SplitRecord]
    words_quantiles: dict[str, float]
    """Quantiles of whitespace-separated words per text: keys p50, p95, p99, max."""
    carved: dict[str, float] = Field(default_factory=dict)
    """Splits that were cut from train, with their fraction; splits that the user gave are absent."""
    problems: list[Problem] = Field(default_factory=list)
    sample_texts: list[str] = Field(default_factory=list)
    """At most 512 training texts (seeded) with the length distribution of the data, used for profiling."""


# ---------------------------------------------------------------- serving cost


class ServingProfile(Record):
    """Latency and throughput of one variant of a model size, measured inside a Ray Serve replica."""

    model_size: str
    precision: str
    max_length: int
    engine: str
    device: str
    machine: str
    """Processor model and core count; profiles of another machine are not reused."""
    threads: int
    """CPU cores of the replica."""
    preset: str = "throughput"
    """Value of ``serve.preset`` during the measurement."""
    core_s_per_text: float
    """Processor (or device) seconds per text in the replica, with 32 requests in flight through the replica's
    batcher."""
    texts_per_s: float
    p50_ms: float
    """Median HTTP latency at ``load_requests_per_s``."""
    p95_ms: float
    """95th percentile of the same measurement."""
    p99_ms: float
    """99th percentile of the same measurement."""
    load_requests_per_s: float
    peak_bytes: int
    """Resident memory of the replica's process after the load, in bytes."""
    repeats: int
    spread: float
    """(slowest - fastest) / median of ``core_s_per_text`` over the repeats."""
    texts_measured: int
    warning: str = ""
    measured_at: str = Field(default_factory=now_utc)


class IngressProfile(Record):
    """Processor seconds per HTTP request outside the model: proxy, routing and parsing."""

    machine: str
    core_s_per_request: float
    requests_measured: int
    repeats: int
    spread: float
    measured_at: str = Field(default_factory=now_utc)


class ProfileBook(Record):
    """``profiles.json``: all profiles of a study."""

    ingress: IngressProfile
    profiles: list[ServingProfile]
    refused: dict[str, str] = Field(default_factory=dict)
    """``size precision`` -> why this variant cannot be served and is not offered."""


# ---------------------------------------------------------------- trials


class TrialStatus(StrEnum):
    """How a trial ended. Only ``done`` trials can be on the Pareto front."""

    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    INFEASIBLE = "infeasible"


class TrialConfig(Record):
    """One configuration. Hyperparameters that a model or method does not have (learning rate of TF-IDF) are None."""

    model_size: str
    """``base:layers`` of the ladder, such as ``minilm:3``; ``tfidf`` has no layers."""
    method: str = "full"
    teacher: str = ""
    """Id of the trial whose predictions a distilled trial learns from; empty for all other methods."""
    frozen_layers: int | None = None
    """Encoder layers above the embeddings that are not trained; method ``freeze`` only."""
    lora_rank: int | None = None
    """Method ``lora`` only."""
    lora_alpha: float | None = None
    """Method ``lora`` only."""
    layer_decay: float | None = None
    """Layer-wise learning rate decay per layer below the head; None: the method has none, or it is 1."""
    learning_rate: float | None = None
    batch_size: int | None = None
    epochs: int | None = None
    max_length: int = 128
    seed: int = 0


class CurvePoint(Record):
    """Validation scores at one fraction of the schedule."""

    fraction: float
    f1: float
    """The task's primary metric on the validation split."""
    loss: float
    """Mean validation loss."""
    train_s: float
    """Wall seconds since the trial began, evaluation excluded."""
    step: int = 0
    train_loss: float | None = None
    """Mean training loss per text since the previous point; None at fraction 0."""


class Usage(Record):
    """Resource usage of a trial, retries included. Measured, not priced."""

    core_s: float = 0.0
    """Processor seconds of all workers (never wall seconds)."""
    device_s: float = 0.0
    """Accelerator wall seconds x device fraction, all workers."""
    wall_s: float = 0.0
    train_s: float = 0.0
    eval_s: float = 0.0
    tokens: int = 0
    """Tokens trained on, padding excluded."""
    padded_tokens: int = 0
    """Tokens trained on, padding included."""
    peak_bytes: int = 0
    """Peak memory of a worker, in bytes."""


class Variant(Record):
    """One way to serve a trained checkpoint: a precision and a maximum length, known before training."""

    precision: str
    max_length: int


class PricedVariant(Variant):
    """A profiled variant of a model size, with its serving cost; known before training."""

    usd_per_million_predictions: float
    p95_ms: float | None = None
    """None: latency was not measured."""


class ScoredVariant(Variant):
    """A variant of a trained checkpoint, with its measured F1."""

    f1: float
    metrics: dict[str, float] = Field(default_factory=dict)
    """All metrics of the task on the validation split."""
    predictions_uri: str = ""
    usd_per_million_predictions: float | None = None
    p95_ms: float | None = None


class TrialResult(Record):
    """Result that a worker writes (``result-<attempt>.json``) before its last report. Contains no prices."""

    trial_id: str
    attempt: int
    config: TrialConfig
    status: TrialStatus
    reason: str = ""
    curve: list[CurvePoint] = Field(default_factory=list)
    usage: Usage = Usage()
    variants: list[ScoredVariant] = Field(default_factory=list)
    checkpoint_uri: str = ""
    node: str = ""
    started_at: str = ""
    finished_at: str = Field(default_factory=now_utc)


class TrialRecord(TrialResult):
    """Entry of the ledger: a `TrialResult` with its cost. Only the driver writes it."""

    role: Role = "search"
    confirms: str = ""
    """Id of the trial that a fresh-seed run repeats; empty for search trials."""
    training_usd: float = 0.0
    start: bool = False
    """True for the initial trials of a search (default hyperparameters, cheapest size first)."""
    overhead_s: float = 0.0
    """Wall seconds from a free slot to the start of training, plus from the last report to the written record."""

    @property
    def reference_variant(self) -> ScoredVariant | None:
        """The variant that represents a finished trial, and whose F1 ends its curve; None for all other trials.

        It is the first of ``export.precisions`` at the trained length, not the best variant: the maximum of several
        noisy scores is biased upwards.
        """
        if self.status is not TrialStatus.DONE or not self.variants:
            return None
        return next((v for v in self.variants if v.max_length == self.config.max_length), self.variants[0])

    def variant(self, precision: str, max_length: int) -> ScoredVariant | None:
        """The variant of this precision and length, or None if it was not evaluated."""
        return next((v for v in self.variants if (v.precision, v.max_length) == (precision, max_length)), None)


class FrontPoint(Record):
    """One point in the plane of cost and F1: a variant of a finished trial."""

    trial_id: str
    model_size: str
    precision: str
    max_length: int
    f1: float
    usd_per_million_predictions: float
    p95_ms: float | None = None


class LadderRow(FrontPoint):
    """Best finished trial of one model size, with its relation to the Pareto front."""

    on_front: bool
    dominated_by: str = ""
    """Trial id, with its model size in brackets, of a point that costs no more and is no worse."""


class JudgedPoint(FrontPoint):
    """A finalist as it was compared: ``f1`` is the mean of its fresh-seed runs, or its search score without any."""

    search_f1: float
    fresh_f1: list[float] = Field(default_factory=list)
    """Validation F1 of its fresh-seed runs, at its own precision and length."""
    loss: float = 0.0
    """F1 of the best finalist minus its own, as a fraction; 0 for the best."""
    loss_upper: float | None = None
    """Upper 95% confidence bound of the loss, corrected for all comparisons (Holm); None: no bound was computed."""
    standing: Literal["best", "proven", "within_noise", "worse"] = "within_noise"
    """proven: the bound is within the margin. worse: the loss exceeds the margin with 95% confidence."""


class PrecisionCheck(Record):
    """Comparison of a checkpoint in reduced precision (int8, bf16) with fp32, on the validation split."""

    trial_id: str
    """Id of the trial whose checkpoint would be shipped."""
    model_size: str
    precision: str
    max_length: int
    rows: int = 0
    agreement: float | None = None
    """Fraction of the rows with the same predicted labels."""
    f1_loss: float | None = None
    """F1 in fp32 minus F1 in reduced precision, as a fraction."""
    f1_loss_upper: float | None = None
    """Upper 95% confidence bound of the loss, by paired bootstrap over the rows."""
    passed: bool = False
    """False: this variant cannot win."""
    reason: str
    """One sentence without a full stop."""


class Selection(Record):
    """The winner, the policy that chose it, and the evidence."""

    policy: str
    margin: float
    front: list[FrontPoint]
    ladder: list[LadderRow]
    finalists: list[FrontPoint] = Field(default_factory=list)
    confirmed_f1: dict[str, list[float]] = Field(default_factory=dict)
    """Trial id -> F1 of its fresh-seed runs, for the winning or first variant; ``judged`` has those of each point."""
    judged: list[JudgedPoint] = Field(default_factory=list)
    """All points that could have won, cheapest first."""
    verdict: Literal["proven", "within_noise"] = "within_noise"
    rows_needed: int | None = None
    """Estimated validation rows needed for a proof; None: it is proven, or more rows alone would not suffice."""
    validation_rows: int = 0
    """Validation rows on which the verdict is based; 0: no saved predictions were compared."""
    winner: FrontPoint
    winner_seed_trial_id: str
    """Id of the trial whose checkpoint is shipped: the winner itself, or its fresh-seed run of median F1."""
    test_f1: float | None = None
    test_metrics: dict[str, float] = Field(default_factory=dict)
    test_rows: int = 0
    per_label: list[dict[str, Any]] = Field(default_factory=list)
    """On the test split (validation if there is none): label, precision, recall, f1, support."""
    confusion: list[list[int]] = Field(default_factory=list)
    """Confusion matrix on the same split: one row per true label, one column per predicted label."""
    precision_checks: list[PrecisionCheck] = Field(default_factory=list)
    """Points in reduced precision that would have won, in the order of their checks; the last one won if it passed."""
    excluded: dict[str, str] = Field(default_factory=dict)
    """Trial id -> why it could not win (cost or latency limit, not finished)."""
    reason: str
    """The decision in one sentence."""
    decided_at: str = Field(default_factory=now_utc)


class Bundle(Record):
    """An immutable, verified model folder that can be deployed."""

    uri: str
    version: str
    """First 12 hex digits of the manifest's sha256."""
    engine: str
    precision: str
    task_kind: str
    labels: list[str]
    model_size: str
    max_length: int
    bytes: int
    note: str = ""
    """How its precision was checked, or why it is served in another variant than the winner's; else empty."""


class Cascade(Record):
    """Two points served as one model: the large one predicts where the small one is not confident."""

    small: FrontPoint
    large: FrontPoint
    temperature: float
    """Calibration temperature of the small model's logits."""
    threshold: float
    """Calibrated confidence of the small model below which the large model is called."""
    share: float
    """Fraction of validation texts passed to the large model, cross-validated over two halves: each half is evaluated
    with the threshold chosen on the other."""
    f1: float
    """F1 of the cascade, cross-validated in the same way."""
    small_f1: float
    large_f1: float
    usd_per_million_predictions: float
    """All texts through the small model plus ``share`` of them through the large one, from the measured profiles."""
    margin: float
    validation_rows: int
    test_f1: float | None = None
    """F1 of a single evaluation on the test split, with the deployed threshold."""
    test_share: float | None = None
    test_rows: int = 0

    @property
    def pair(self) -> str:
        """Ids of both trials: ``t001+t004``."""
        return f"{self.small.trial_id}+{self.large.trial_id}"


class CascadeBook(Record):
    """``cascades.json``: all cascades of a run, one per pair of variants."""

    cascades: list[Cascade]


class CanaryRecord(Record):
    """State of a canary: traffic and errors of candidate and running model, summed over all replicas."""

    version: str
    share: float
    minutes: float
    elapsed_minutes: float
    requests: int
    current_requests: int
    """Requests of the running model since the start of the canary."""
    errors: int
    """Requests on which the candidate failed; the running model served them instead."""
    current_errors: int
    p95_ms: float
    current_p95_ms: float
    drift: float
    """Population stability index between the predicted label distributions of the two models."""
    running: bool = True
    note: str = ""
    """What the canary is waiting for, or how it ended."""


class Endpoint(Record):
    """An endpoint: ``endpoint.json`` in the run folder."""

    url: str
    version: str
    process: ProcessIdentity | None
    """The supervisor process; None on an existing cluster. Its start time is stored because a pid may be reused."""
    ports: dict[str, int]
    state: Literal["starting", "ready", "recovering", "rejected", "stopped"]
    """``recovering``: Ray died and is being started again; the endpoint answers 503 until it is ready."""
    bundle_uri: str
    previous_version: str = ""
    previous_uri: str = ""
    """Previous bundle, the target of ``lft rollback``."""
    canary: CanaryRecord | None = None
    """The running canary, or the last one."""
    message: str = ""
    ready_after_s: float = 0.0
    log: str = ""
    """Path of the supervisor's log file."""
    folder: str = ""
    """The supervisor's working folder on its machine: sockets and the bundles it serves. Deleted when it stops."""
    address: str = ""
    """Ray address of an existing cluster; empty if the endpoint owns its cluster."""
    spec: ServeSpec | None = None
    """Settings of a deployment to an existing cluster: a rollback must change nothing but the bundle."""

    @property
    def pid(self) -> int:
        """Process id of the supervisor; 0 on an existing cluster."""
        return self.process.pid if self.process is not None else 0

    @property
    def has_canary(self) -> bool:
        """Whether a canary is running."""
        return self.canary is not None and self.canary.running and self.state != "stopped"
