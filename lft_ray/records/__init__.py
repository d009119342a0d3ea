"""Records that pass between the stages: data, serving cost, trials, selection, bundles and endpoints.

In: JSON. Out: frozen pydantic models, and JSON again, so that any stage can be rerun alone, on another machine. A
record holds what was measured or decided. Never computes.
"""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from lft_ray.causes import EndCause
from lft_ray.config.base import Dollars, Score
from lft_ray.config.serving import ServeSpec
from lft_ray.processes import ProcessIdentity
from lft_ray.records.base import Learned, Record, now_utc
from lft_ray.records.judgement import (
    Comparison,
    ConfirmationCount,
    FrontPoint,
    Interval,
    JudgedPoint,
    LadderRow,
    NotCompared,
    PrecisionCheck,
    Selection,
    SizeCoverage,
    SizeOutcome,
    VerdictKind,
)
from lft_ray.run_paths import RunUri
from lft_ray.texts import Text

__all__ = [
    "Bundle", "CanaryRecord", "Cascade", "CascadeBook", "Comparison", "ConfirmationCount", "CurvePoint",
    "DatasetRecord", "Endpoint", "FrontPoint", "IngressProfile", "Interval", "JudgedPoint", "LadderRow", "Learned",
    "NotCompared", "PrecisionCheck", "PricedVariant", "Problem", "ProfileBook", "Record", "Role",
    "ScoredVariant", "Selection", "ServedVersion", "ServingProfile", "SizeCoverage", "SizeOutcome", "SplitRecord",
    "TrialConfig", "TrialRecord", "TrialResult", "TrialStatus", "Usage", "Variant", "VerdictKind", "now_utc",
]  # fmt: skip

Role = Literal["search", "confirm"]
"""Purpose of a trial: search for a configuration, or confirm a finalist with a fresh seed."""


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
    """One split as an Arrow IPC file with the columns ``row_id``, one for each input (``text``), and ``target``."""

    name: Literal["train", "validation", "test"]
    uri: RunUri
    rows: int
    label_counts: dict[str, int]
    """Label, or other group that the task counts -> rows."""
    sha256: str = ""
    """As all checksums of records, empty in runs of 0.2.0 and earlier."""


class DatasetRecord(Learned):
    """The prepared data: columns, what the task learned from train, splits and findings of the data check.

    Ask `columns` and `facts` for what holds for every task. Text, label and labels are stored apart and anything else
    only where a task has it, so that the records of tasks with labels are the same in all versions.
    """

    fingerprint: str
    """sha256 over task, columns, labels and the rows of all splits; equal data has an equal fingerprint."""
    source_files: dict[str, str]
    """File -> sha256 of its bytes; a resume refuses changed files."""
    task_kind: str
    text_column: str
    """Column in the role ``text``; empty where the task has none."""
    label_column: str
    """Column in the role ``label``; empty where the task has none."""
    labels: list[str]
    """Labels in the order of the outputs; empty where the task learns none."""
    splits: dict[str, SplitRecord]
    words_quantiles: dict[str, float]
    """Quantiles of words per text, by `lft_ray.scripts.count_words`: keys p50, p95, p99, max."""
    carved: dict[str, float] = Field(default_factory=dict)
    """Splits that were cut from train, with their fraction; splits that the user gave are absent."""
    problems: list[Problem] = Field(default_factory=list)
    sample_texts: list[Text] = Field(default_factory=list)
    """At most 512 training texts (seeded) with the length distribution of the data, used for profiling."""
    other_columns: dict[str, str] = Field(default_factory=dict)
    """Role -> column, of a task with other columns than a text and a label."""
    other_facts: dict[str, JsonValue] = Field(default_factory=dict)
    """What a task learned from train, where that is not a list of labels alone."""

    @property
    def columns(self) -> dict[str, str]:
        """Role -> name of its column in the source files."""
        return self.other_columns or {"text": self.text_column, "label": self.label_column}

    @property
    def sentence(self) -> str:
        """Rows of each split, labels, and what was cut from train, for people."""
        rows = ", ".join(f"{split.rows:,} {name}" for name, split in self.splits.items())
        carved = ", ".join(f"{share:.0%} for {name}" for name, share in self.carved.items())
        labels = f", {len(self.labels)} labels" if self.labels else ""
        return f"data: {rows} rows{labels}" + (f" (split off train: {carved})" if carved else "")

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        """Refuse a record whose parts contradict each other: labels are the columns of every prediction."""
        if missing := [name for name in ("train", "validation") if name not in self.splits]:
            raise ValueError(f"the split {missing[0]!r} is missing")
        if repeated := [name for name, count in Counter(self.labels).items() if count > 1]:
            raise ValueError(f"the label {repeated[0]!r} is there twice")
        for split in self.splits.values() if self.labels else ():
            if unknown := sorted(split.label_counts.keys() - set(self.labels)):
                raise ValueError(f"{split.name} has rows of {unknown[0]!r}, which is not one of the labels")
        return self


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
    core_s_per_text: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
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
    class_weights: str | None = None
    """Weights of the labels in the loss, none or balanced; None: those of ``training.class_weights``, not searched."""
    learning_rate: float | None = None
    batch_size: int | None = None
    epochs: int | None = None
    max_length: int = 128
    seed: int = 0


class CurvePoint(Record):
    """Validation scores at one fraction of the schedule."""

    fraction: float
    f1: Score
    """The task's primary metric on the validation split."""
    loss: float
    """Mean validation loss."""
    train_s: float
    """Wall seconds since the trial began, evaluation excluded."""
    step: int = 0
    train_loss: float | None = None
    """Mean training loss per text since the previous point; None at fraction 0."""
    learning_rate: float | None = None
    """Learning rate of the last step; None at fraction 0."""
    core_s: float | None = None
    """Processor seconds of all workers so far, earlier attempts included; None in runs of 0.2.0 and earlier."""


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

    usd_per_million_predictions: Dollars
    p95_ms: float | None = None
    """None: latency was not measured."""


class ScoredVariant(Variant):
    """A variant of a trained checkpoint, with its measured F1."""

    f1: Score
    metrics: dict[str, float] = Field(default_factory=dict)
    """All metrics of the task on the validation split."""
    predictions_uri: RunUri = ""
    predictions_sha256: str = ""
    usd_per_million_predictions: Dollars | None = None
    p95_ms: float | None = None


class TrialResult(Record):
    """Result that a worker writes (``result-<attempt>.json``) before its last report. Contains no prices."""

    trial_id: str
    attempt: int
    config: TrialConfig
    status: TrialStatus
    reason: str = ""
    cause: EndCause | None = None
    """What made it fail; None: it did not fail, or an older version wrote it."""
    note: str = ""
    """What happened on the way, such as a training state that was discarded."""
    curve: list[CurvePoint] = Field(default_factory=list)
    usage: Usage = Usage()
    variants: list[ScoredVariant] = Field(default_factory=list)
    checkpoint_uri: RunUri = ""
    checkpoint_sha256: dict[str, str] = Field(default_factory=dict)
    node: str = ""
    started_at: str = ""
    finished_at: str = Field(default_factory=now_utc)


class TrialRecord(TrialResult):
    """Entry of the ledger: a `TrialResult` with its cost. Only the driver writes it."""

    role: Role = "search"
    confirms: str = ""
    """Id of the trial that a fresh-seed run repeats; empty for search trials."""
    training_usd: Dollars = 0.0
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


class Bundle(Record):
    """An immutable, verified model folder that can be deployed."""

    uri: RunUri
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
    trial_id: str = ""
    """Trial whose checkpoint it contains; empty outside a run, and in runs of 0.2.0 and earlier."""
    asked: Variant | None = None
    """Variant that was to be exported; its own differs where that one failed its parity check."""


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
    f1: Score
    """F1 of the cascade, cross-validated in the same way."""
    small_f1: Score
    large_f1: Score
    usd_per_million_predictions: Dollars
    """All texts through the small model plus ``share`` of them through the large one, from the measured profiles."""
    margin: float
    validation_rows: int
    test_f1: Score | None = None
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
    """State of a canary, summed over replicas. An error is a request that only the running model could serve."""

    version: str
    share: float
    minutes: float
    elapsed_minutes: float
    requests: int
    current_requests: int
    errors: int
    current_errors: int
    p95_ms: float
    current_p95_ms: float
    drift: float
    """Population stability index between the label distributions of the two models."""
    running: bool = True
    note: str = ""


class ServedVersion(Record):
    """A bundle that an endpoint has served."""

    version: str
    uri: str


class Endpoint(Record):
    """An endpoint: ``endpoint.json`` in the run folder."""

    url: str
    version: str
    process: ProcessIdentity | None
    host: str = ""
    ports: dict[str, int]
    state: Literal["starting", "ready", "recovering", "rejected", "stopped"]
    """``recovering``: Ray died and is being started again; the endpoint answers 503 until it is ready."""
    bundle_uri: str
    previous_version: str = ""
    previous_uri: str = ""
    history: list[ServedVersion] = Field(default_factory=list)
    """What it served before, the latest last: the targets of ``lft rollback``. The last one is also ``previous_*``."""
    canary: CanaryRecord | None = None
    message: str = ""
    ready_after_s: float = 0.0
    log: str = ""
    folder: str = ""
    """The supervisor's working folder on its machine: sockets and the bundles it serves. Deleted when it stops."""
    address: str = ""
    """Ray address of an existing cluster; empty if the endpoint owns its cluster."""
    spec: ServeSpec | None = None
    serial: int = 0
    """On an existing cluster: serial of the latest desired state, since every command has its own controller."""
    key_hashes: list[str] = Field(default_factory=list)
    """On an existing cluster: SHA-256 of the API keys, which a promotion must keep."""

    @property
    def pid(self) -> int:
        """Process id of the supervisor; 0 on an existing cluster, which has none."""
        return self.process.pid if self.process is not None else 0

    @property
    def has_canary(self) -> bool:
        """Whether a canary is running."""
        return self.canary is not None and self.canary.running and self.state != "stopped"
