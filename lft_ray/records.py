"""Frozen values that pass between stages. JSON in, JSON out, so that any stage can rerun alone, elsewhere.

Nothing here computes: a record says what was measured or decided, and by what.
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
"""What a trial is for: to find a configuration, or to run a finalist again with a fresh seed."""


def now_utc() -> str:
    """Return the present as an ISO 8601 string in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Record(BaseModel):
    """Base of all records: frozen; unknown keys are errors, so a file of another version is refused, not misread."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def replace(self, **changes: Any) -> Self:
        """A copy with other values of some fields.

        Raises:
            TypeError: a name is no field: pydantic's own `model_copy` takes any name, and says nothing.
        """
        check_names(type(self), changes)
        return self.model_copy(update=changes)


# ---------------------------------------------------------------- data


class Problem(Record):
    """One finding of the data check. ``error`` stops the run; ``warning`` is counted and shown."""

    severity: Literal["error", "warning"]
    code: str
    """A short stable name, such as ``duplicate_text``."""
    message: str
    file: str = ""
    row: int | None = None
    """Line of the file, counted from 1 with the header as line 1 (CSV), or row counted from 1 (Parquet)."""
    count: int = 1
    fix: str = ""


class SplitRecord(Record):
    """One split as an Arrow IPC file with the columns ``row_id``, ``text`` and ``target``."""

    name: Literal["train", "validation", "test"]
    uri: str
    rows: int
    label_counts: dict[str, int]


class DatasetRecord(Record):
    """What ``prepare`` made of the user's files."""

    fingerprint: str
    """sha256 over task, columns, labels and the rows of all splits: equal data, equal fingerprint."""
    source_files: dict[str, str]
    """File -> sha256 of its bytes; a change is refused on resume."""
    task_kind: str
    text_column: str
    label_column: str
    labels: list[str]
    splits: dict[str, SplitRecord]
    words_quantiles: dict[str, float]
    """Whitespace words per text: keys p50, p95, p99, max."""
    carved: dict[str, float] = Field(default_factory=dict)
    """Splits cut from train by us, with their share; a split that was given is absent."""
    problems: list[Problem] = Field(default_factory=list)
    sample_texts: list[str] = Field(default_factory=list)
    """At most 512 train texts, seeded, with the length distribution of the data: what profiles are measured on."""


# ---------------------------------------------------------------- serving cost


class ServingProfile(Record):
    """Latency and throughput of one architecture, measured inside a Ray Serve replica."""

    model_size: str
    precision: str
    max_length: int
    engine: str
    device: str
    machine: str
    """Fingerprint of the processor and its count; profiles of another machine are not reused."""
    threads: int
    """Cores of the replica."""
    preset: str = "throughput"
    """``serve.preset`` that it was measured with."""
    core_s_per_text: float
    """Processor (or device) seconds in the replica per text, 32 requests in flight through the product's batcher."""
    texts_per_s: float
    p50_ms: float
    p95_ms: float
    """HTTP latency at ``load_requests_per_s``."""
    p99_ms: float
    load_requests_per_s: float
    peak_bytes: int
    """Resident bytes of the replica's process after the load."""
    repeats: int
    spread: float
    """(slowest - fastest) / median of core_s_per_text over the repeats."""
    texts_measured: int
    warning: str = ""
    measured_at: str = Field(default_factory=now_utc)


class IngressProfile(Record):
    """Processor seconds that one HTTP request costs before any model is asked."""

    machine: str
    core_s_per_request: float
    requests_measured: int
    repeats: int
    spread: float
    measured_at: str = Field(default_factory=now_utc)


class ProfileBook(Record):
    """``profiles.json``: every profile a study may use."""

    ingress: IngressProfile
    profiles: list[ServingProfile]
    refused: dict[str, str] = Field(default_factory=dict)
    """``size precision`` -> why it cannot be served so, and is not offered."""


# ---------------------------------------------------------------- trials


class TrialStatus(StrEnum):
    """How a trial ended. Only ``done`` may stand on the front."""

    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    INFEASIBLE = "infeasible"


class TrialConfig(Record):
    """One configuration. Fields that a model does not have (a learning rate for TF-IDF) are None."""

    model_size: str
    """``base:layers`` of the ladder, such as ``minilm:3``; ``tfidf`` has no layers."""
    method: str = "full"
    teacher: str = ""
    """Id of the trial whose answers a distilled one learns from; empty for every other method."""
    frozen_layers: int | None = None
    """Layers above the embeddings that stay as they are; of method frozen alone."""
    lora_rank: int | None = None
    lora_alpha: float | None = None
    layer_decay: float | None = None
    """Factor of the learning rate a layer below the head; None: the method has none, or it is 1."""
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
    """Wall seconds since the trial began, evaluation left out."""
    step: int = 0
    train_loss: float | None = None
    """Mean training loss per text since the last point; None at fraction 0."""


class Usage(Record):
    """What a trial used up, retries counted. Measured, not priced."""

    core_s: float = 0.0
    """Processor seconds of all workers (never wall seconds)."""
    device_s: float = 0.0
    """Accelerator wall seconds x device fraction, all workers."""
    wall_s: float = 0.0
    train_s: float = 0.0
    eval_s: float = 0.0
    tokens: int = 0
    """Real tokens trained on, padding left out."""
    padded_tokens: int = 0
    peak_bytes: int = 0


class Variant(Record):
    """One way to serve a trained checkpoint: known before anything is trained."""

    precision: str
    max_length: int


class PricedVariant(Variant):
    """A variant of a model size that was profiled: what it costs to serve, before anything is trained."""

    usd_per_million_predictions: float
    p95_ms: float | None = None
    """None: latency was not measured."""


class ScoredVariant(Variant):
    """A variant with the F1 that its checkpoint was measured to have."""

    f1: float
    metrics: dict[str, float] = Field(default_factory=dict)
    """All metrics of the task on validation."""
    predictions_uri: str = ""
    usd_per_million_predictions: float | None = None
    p95_ms: float | None = None


class TrialResult(Record):
    """What a worker writes (``result.json``) before its last report. It carries no prices."""

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
    """The ledger's entry: the result, priced. Only the driver writes it."""

    role: Role = "search"
    confirms: str = ""
    """For a fresh-seed run: the trial it repeats."""
    training_usd: float = 0.0
    start: bool = False
    """True for the trials of the start table (defaults, cheapest size first)."""
    overhead_s: float = 0.0
    """Wall seconds from the slot being free to training begun, plus report to record written."""

    @property
    def reference_variant(self) -> ScoredVariant | None:
        """What stands for a finished trial, and what its curve ends with; None for all other trials.

        The first variant (of ``export.precisions``) at the trained length, not the best one: of several noisy scores
        the largest is too good.
        """
        if self.status is not TrialStatus.DONE or not self.variants:
            return None
        return next((v for v in self.variants if v.max_length == self.config.max_length), self.variants[0])

    def variant(self, precision: str, max_length: int) -> ScoredVariant | None:
        """The variant of this precision and length, or None where it was not scored at it."""
        return next((v for v in self.variants if (v.precision, v.max_length) == (precision, max_length)), None)


class FrontPoint(Record):
    """One servable point: a variant of a finished trial."""

    trial_id: str
    model_size: str
    precision: str
    max_length: int
    f1: float
    usd_per_million_predictions: float
    p95_ms: float | None = None


class LadderRow(FrontPoint):
    """Best finished trial of one model size."""

    on_front: bool
    dominated_by: str = ""
    """Trial id (and its model size in brackets) of a point that is no dearer and no worse."""


class JudgedPoint(FrontPoint):
    """A finalist as it was judged: ``f1`` is the mean of its fresh-seed runs, or its search score without any."""

    search_f1: float
    fresh_f1: list[float] = Field(default_factory=list)
    """Validation F1 of its fresh-seed runs, at its own precision and length."""
    loss: float = 0.0
    """F1 of the best finalist less its own, as a fraction; 0 for the best."""
    loss_upper: float | None = None
    """The loss is below this with 95% confidence, all comparisons together (Holm); None: it was not bounded."""
    standing: Literal["best", "proven", "within_noise", "worse"] = "within_noise"
    """proven: the bound is within the margin. worse: the loss is above the margin with 95% confidence."""


class PrecisionCheck(Record):
    """Whether a rounded checkpoint (int8, bf16) answers validation as it does in fp32."""

    trial_id: str
    """The run whose checkpoint would be shipped."""
    model_size: str
    precision: str
    max_length: int
    rows: int = 0
    agreement: float | None = None
    """Share of the rows with the same labels."""
    f1_loss: float | None = None
    """F1 in fp32 less F1 rounded, as a fraction."""
    f1_loss_upper: float | None = None
    """The loss is below this with 95% confidence, by paired bootstrap over the rows."""
    passed: bool = False
    """False: it was not allowed to win."""
    reason: str
    """One sentence without a full stop."""


class Selection(Record):
    """What was chosen, by which rule, and why."""

    policy: str
    margin: float
    front: list[FrontPoint]
    ladder: list[LadderRow]
    finalists: list[FrontPoint] = Field(default_factory=list)
    confirmed_f1: dict[str, list[float]] = Field(default_factory=dict)
    """Trial id -> F1 of its fresh-seed runs, at the winning or first variant; ``judged`` has each point's."""
    judged: list[JudgedPoint] = Field(default_factory=list)
    """Every point that could have won, cheapest first."""
    verdict: Literal["proven", "within_noise"] = "within_noise"
    rows_needed: int | None = None
    """Validation rows that would settle it; None: it is settled, or more rows alone would not settle it."""
    validation_rows: int = 0
    """Rows that the verdict rests on; 0: no saved predictions were compared."""
    winner: FrontPoint
    winner_seed_trial_id: str
    """The trial whose checkpoint is shipped (the winner itself, or its fresh-seed run of median F1)."""
    test_f1: float | None = None
    test_metrics: dict[str, float] = Field(default_factory=dict)
    test_rows: int = 0
    per_label: list[dict[str, Any]] = Field(default_factory=list)
    """On the test split (validation if there is none): label, precision, recall, f1, support."""
    confusion: list[list[int]] = Field(default_factory=list)
    precision_checks: list[PrecisionCheck] = Field(default_factory=list)
    """Rounded points that would have won, in the order they were looked at; the last one won if it passed."""
    excluded: dict[str, str] = Field(default_factory=dict)
    """Trial id -> why it was not allowed to win (cap, not finished)."""
    reason: str
    """One plain sentence."""
    decided_at: str = Field(default_factory=now_utc)


class Bundle(Record):
    """An immutable, verified folder that can be deployed."""

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
    """How its precision was checked, or why it is not served as it won; empty where there is nothing to say."""


class Cascade(Record):
    """Two points that are served as one: the small one answers where it is sure, the large one the rest."""

    small: FrontPoint
    large: FrontPoint
    temperature: float
    threshold: float
    """Calibrated confidence below which the large model is asked."""
    share: float
    """Of validation texts that the large model is asked, on the half that did not choose the threshold, both ways."""
    f1: float
    """On those same rows."""
    small_f1: float
    large_f1: float
    usd_per_million_predictions: float
    """Every text through the small model, the share through the large one too; from their measured profiles."""
    margin: float
    validation_rows: int
    test_f1: float | None = None
    """Of one look at the test split, with the threshold that is deployed."""
    test_share: float | None = None
    test_rows: int = 0

    @property
    def pair(self) -> str:
        """Ids of both trials: ``t001+t004``."""
        return f"{self.small.trial_id}+{self.large.trial_id}"


class CascadeBook(Record):
    """``cascades.json``: every cascade that was asked for, one a pair of variants."""

    cascades: list[Cascade]


class CanaryRecord(Record):
    """A candidate that answers a share of the traffic, beside the running model; all replicas together."""

    version: str
    share: float
    minutes: float
    elapsed_minutes: float
    requests: int
    current_requests: int
    """Requests of the running model since the canary began."""
    errors: int
    """Requests that the candidate failed at; the running model answered them."""
    current_errors: int
    p95_ms: float
    current_p95_ms: float
    drift: float
    """Population stability index between the labels that the two gave."""
    running: bool = True
    note: str = ""
    """What it waits for, or how it ended."""


class Endpoint(Record):
    """A live endpoint: ``endpoint.json`` in the run folder."""

    url: str
    version: str
    process: ProcessIdentity | None
    """The supervisor; None when deployed to an existing cluster. Its id alone is not signalled: it may be reused."""
    ports: dict[str, int]
    state: Literal["starting", "ready", "rejected", "stopped"]
    bundle_uri: str
    previous_version: str = ""
    previous_uri: str = ""
    """Bundle to which ``lft rollback`` goes back."""
    canary: CanaryRecord | None = None
    """The canary that runs, or the last one."""
    message: str = ""
    ready_after_s: float = 0.0
    log: str = ""
    """Path of the supervisor's log file."""
    folder: str = ""
    """The supervisor's own folder on its machine: sockets and the bundles it serves. Gone when it has stopped."""
    address: str = ""
    """Ray address when deployed to an existing cluster; empty when the endpoint owns its cluster."""
    spec: ServeSpec | None = None
    """How it was deployed to an existing cluster: going back to the bundle before must change nothing else."""

    @property
    def pid(self) -> int:
        """Process id of the supervisor; 0 when deployed to an existing cluster."""
        return self.process.pid if self.process is not None else 0

    @property
    def has_canary(self) -> bool:
        """Whether a candidate answers a share of the traffic now."""
        return self.canary is not None and self.canary.running and self.state != "stopped"
