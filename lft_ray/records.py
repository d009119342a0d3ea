"""Frozen values that pass between stages. JSON in, JSON out, so that any stage can rerun alone, elsewhere.

Nothing here computes: a record says what was measured or decided, and by what.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from lft_ray.spec import check_names

__all__ = [
    "CurvePoint", "DatasetRecord", "IngressProfile", "PricedVariant", "Problem", "ProfileBook", "Record", "Role",
    "ScoredVariant", "ServingProfile", "SplitRecord", "TrialConfig", "TrialRecord", "TrialResult", "TrialStatus",
    "Usage", "Variant", "now_utc",
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
