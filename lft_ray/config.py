"""The experiment tree: every knob on one page, each with its text below it.

In: plain dictionaries (see ``experiment_file.py`` for YAML, ``extends`` and ``--set``). Out: a frozen `Experiment`.
Never reads data, never imports torch or Ray. Floats stay in pydantic's lax mode: YAML 1.1 reads ``1e-5`` as a string.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

__all__ = [
    "AutoscalingSpec",
    "ClusterSpec",
    "CostSpec",
    "DataSpec",
    "DistilSpec",
    "Experiment",
    "ExportSpec",
    "ModelSpec",
    "Range",
    "ResourcesSpec",
    "SearchSpec",
    "SelectionSpec",
    "ServeSpec",
    "Spec",
    "SplitSpec",
    "TaskSpec",
    "TrafficSpec",
    "TrainingSpec",
]

NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Spec(BaseModel):
    """Base of all parts: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class Range(Spec):
    """A continuous domain to search."""

    low: PositiveFloat
    high: PositiveFloat
    log: bool = True
    """Search on a logarithmic scale."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


class TaskSpec(Spec):
    """What is learned."""

    kind: str = "classification"
    """classification (one label per text), multilabel (any number of labels), or package.module:Name."""
    text: str | None = None
    """Column with the text; found by its name when left out."""
    label: str | None = None
    """Column with the label (multilabel: a list, or names joined by commas); found by its name when left out."""
    metric: Literal["macro_f1", "micro_f1", "weighted_f1", "accuracy"] = "macro_f1"
    """What the search maximises. All of them are reported."""


class SplitSpec(Spec):
    """How splits that are not given are carved from train: stratified, seeded, equal texts kept together."""

    validation: Annotated[float, Field(gt=0.0, le=0.5)] = 0.1
    test: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    seed: int = 0


class DataSpec(Spec):
    """Where the labelled text is."""

    train: str | list[str]
    """CSV, TSV, JSONL or Parquet files (a glob is fine), or a hub data set as hub:owner/name[@revision]."""
    validation: str | list[str] | None = None
    test: str | list[str] | None = None
    max_rows: Annotated[int, Field(ge=20)] | None = None
    """Use at most this many train rows (stratified, seeded)."""
    encoding: str = "utf-8"
    allow_overlap: bool = False
    """Go on although more than 1% of a given validation or test split also stands in train."""
    split: SplitSpec = SplitSpec()


class ModelSpec(Spec):
    """One base model and the depths of it that are candidates."""

    base: str
    """Name in the ladder, a local folder, or a hub id."""
    layers: list[PositiveInt] | None = None
    """Keep the first k layers; each k is a model size. All layers when left out."""
    revision: str | None = None
    """Hub commit or tag; the ladder's own when left out."""
    allow_bin: bool = False
    """Accept weights that exist only as .bin (read with weights_only, stored as safetensors)."""


class ResourcesSpec(Spec):
    """What one training worker holds."""

    cpu: PositiveFloat = 1
    gpu: Literal["auto"] | Annotated[float, Field(ge=0.0)] = "auto"
    """auto: one when the cluster has any, else none. A fraction packs several trials on one device."""


def _probability_like(value: "Range | list[float] | float") -> "Range | list[float] | float":
    top = value.high if isinstance(value, Range) else max(value) if isinstance(value, list) else value
    if top > 1:
        raise ValueError(f"a learning rate of {top} is above 1")
    return value


class DistilSpec(Spec):
    """How a distilled trial weighs what its teacher answers."""

    weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.7
    """Share of the loss that compares with the teacher; the rest is the loss on the labels."""
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = 2.0
    """Both answers are softened by it before they are compared."""


def _with_full(value: list[str]) -> list[str]:
    if "distil" in value and "full" not in value:
        raise ValueError("distil needs a teacher, which is trained in full: write [full, distil]")
    return value


class TrainingSpec(Spec):
    """How one trial trains. Lists and ranges are searched, single values are fixed."""

    method: Annotated[list[Literal["full", "distil"]], Field(min_length=1), AfterValidator(_with_full)] = ["full"]
    """full: every weight is trained on the labels. distil: so, and on the answers of the best finished trial of a size
    that is dearer to serve; proposed as soon as there is one."""
    distil: DistilSpec = DistilSpec()
    learning_rate: Annotated[
        Range | Annotated[list[PositiveFloat], Field(min_length=1)] | PositiveFloat, AfterValidator(_probability_like)
    ] = Range(low=1e-5, high=1e-3)
    batch_size: Annotated[list[PositiveInt], Field(min_length=1)] | PositiveInt = [16, 32, 64]
    """Texts per optimiser step, over all workers."""
    epochs: Annotated[list[PositiveInt], Field(min_length=1)] | PositiveInt = [1, 2, 3]
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128
    """Tokens kept of a text: in training, evaluation and serving alike."""
    workers: PositiveInt = 1
    """More than one: the trial is sharded with Ray Train."""
    resources: ResourcesSpec = ResourcesSpec()
    micro_batch_tokens: Annotated[int, Field(ge=128)] = 4096
    """Padded tokens per forward pass; a step is cut into as many as it needs. Does not change the gradient."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the processor or device computes it natively, with fp32 master weights."""
    head_start: Literal["probe", "random"] = "probe"
    """probe: the head starts as a linear probe fitted on the frozen features."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rare labels weigh more in the loss, inversely to their frequency."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises; then it falls linearly to zero."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    clip_norm: PositiveFloat = 1.0
    evaluations: Annotated[int, Field(ge=1, le=50)] = 3
    """Validation passes at equal fractions of the schedule; the last is at its end."""
    checkpoint_every_s: Annotated[float, Field(ge=0.0)] = 30.0
    """Least seconds between two saves of the training state: what a crash can cost."""


class SearchSpec(Spec):
    """How many trials, which sampler, and when to end."""

    trials: PositiveInt = 24
    minutes: PositiveFloat | None = None
    """Wall minutes from the first trial to the decision. At the deadline running trials end as stopped."""
    budget_usd: PositiveFloat | None = None
    """Training dollars, retries counted. A trial starts only if its worst case still fits."""
    concurrency: Literal["auto"] | PositiveInt = "auto"
    """Trials at a time; auto: as many as the resources hold."""
    sampler: str = "gp"
    """gp, tpe, random, or package.module:Name of an Optuna sampler."""
    scheduler: Literal["fifo"] = "fifo"
    """fifo: every trial runs to its end."""
    seed: int = 0
    deterministic: bool | None = None
    """Tell results in trial order, so that the same seed gives the same trials. Default: on without minutes and
    budget_usd (a clock decides otherwise)."""
    object_store_mb: Annotated[int, Field(ge=80)] = 256
    """Ray object store of a cluster that the study starts itself."""

    @property
    def is_deterministic(self) -> bool:
        """Whether trial order alone decides what is proposed next."""
        if self.deterministic is not None:
            return self.deterministic
        return self.minutes is None and self.budget_usd is None


class TrafficSpec(Spec):
    """The load the endpoint is bought for."""

    requests_per_month: PositiveInt = 10_000_000
    p95_ms: PositiveFloat | None = None
    """Configurations whose profile is slower are not trained."""


class CostSpec(Spec):
    """What a processor second costs and how busy it is."""

    price: str = "this_machine"
    """A row of cost/prices.toml (``lft env --prices`` lists them)."""
    spot: bool = False
    """Use the spot price for training where the row has one."""
    usd_per_core_hour: PositiveFloat | None = None
    """Your own price; goes before the sheet's."""
    usd_per_device_hour: PositiveFloat | None = None
    """Your own price of a whole accelerator; goes before the sheet's."""
    utilisation: Annotated[float, Field(gt=0.0, le=1.0)] = 0.6
    """Busy share of a bought core in production."""
    traffic: TrafficSpec = TrafficSpec()


class SelectionSpec(Spec):
    """Which point of the front is shipped."""

    policy: str = "cheapest_within"
    """cheapest_within (margin of the best F1), best_f1, or package.module:Name."""
    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.005
    """F1 that may be given up for a lower cost, as a fraction: 0.005 is half a point."""
    max_usd_per_million: PositiveFloat | None = None
    """Points above this cost cannot win and are not trained."""
    confirm_share: Share = 0.3
    """Share of minutes and dollars kept for runs of the finalists with fresh seeds. 0: none."""


class ExportSpec(Spec):
    """What is made of the winner."""

    precisions: Annotated[list[Literal["fp32", "bf16"]], Field(min_length=1)] = ["fp32"]
    """Each trained checkpoint is evaluated, profiled and offered at each of these."""


class AutoscalingSpec(Spec):
    """Ray Serve's autoscaling of replicas."""

    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: PositiveInt = 4
    target_ongoing_requests: PositiveFloat = 32

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self


class ServeSpec(Spec):
    """The endpoint."""

    host: str = "127.0.0.1"
    """Another address than loopback is refused unless API keys are set."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0: any free port."""
    api_keys_env: str = "LFT_API_KEYS"
    """Environment variable with comma-separated bearer keys; unset: no keys."""
    cpus_per_replica: PositiveInt = 1
    """Cores and model threads of one replica; profiles are measured with the same."""
    autoscaling: AutoscalingSpec = AutoscalingSpec()


class ClusterSpec(Spec):
    """Which Ray cluster runs the work."""

    address: str | None = None
    """null: a cluster on this machine, started and stopped by the study; auto or host:port: an existing one."""


def _run_name(value: str) -> str:
    if not NAME.match(value):
        raise ValueError(f"{value!r} must match {NAME.pattern}")
    return value


class Experiment(Spec):
    """One experiment: the whole YAML file."""

    name: Annotated[str, AfterValidator(_run_name)]
    """Name of the run folder below storage."""
    task: TaskSpec = TaskSpec()
    data: DataSpec
    models: Annotated[list[ModelSpec], Field(min_length=1)]
    training: TrainingSpec = TrainingSpec()
    search: SearchSpec = SearchSpec()
    cost: CostSpec = CostSpec()
    selection: SelectionSpec = SelectionSpec()
    export: ExportSpec = ExportSpec()
    serve: ServeSpec = ServeSpec()
    cluster: ClusterSpec = ClusterSpec()
    storage: str = "runs"
    """Folder or URI (s3://, gs://) that holds run folders. A cluster of several nodes needs a URI or a shared mount."""

    @classmethod
    def load(cls, path: str | Path, overrides: list[str] | None = None) -> "Experiment":
        """Read an experiment file. See `lft_ray.experiment_file.load`."""
        from lft_ray.experiment_file import load

        return load(Path(path), overrides or [])

    @property
    def run_uri(self) -> str:
        """Folder of this run: ``<storage>/<name>``."""
        return f"{self.storage.rstrip('/')}/{self.name}"
