"""The experiment schema: every key, with its documentation as the string below it.

In: plain dictionaries (see `load` for YAML, ``extends`` and ``--set``). Out: a frozen `Experiment`.
Never reads data, never imports torch or Ray. Floats stay in pydantic's lax mode: YAML 1.1 reads ``1e-5`` as a string.
The strings below the keys are also the descriptions of the JSON schema (``lft env --schema``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lft_ray.config.base import Range, RunName, SchedulerName, Seed, Share, Spec
from lft_ray.config.load import overridden, read_tree, validated
from lft_ray.config.methods import DistillSpec
from lft_ray.config.serving import AutoscalingSpec, RolloutSpec, ServeSpec
from lft_ray.config.training import ResourcesSpec, TrainingSpec
from lft_ray.system.paths import joined

__all__ = [
    "AutoscalingSpec",
    "ClusterSpec",
    "CostSpec",
    "DataSpec",
    "DistillSpec",
    "Experiment",
    "ExportSpec",
    "ModelSpec",
    "Precision",
    "Range",
    "ResourcesSpec",
    "RolloutSpec",
    "SearchSpec",
    "SelectionSpec",
    "ServeSpec",
    "Spec",
    "SplitSpec",
    "TaskSpec",
    "TrafficSpec",
    "TrainingSpec",
]

Precision = Literal["fp32", "bf16", "int8"]
"""Number formats in which a trained checkpoint can be served: fp32 and int8 run in onnxruntime, bf16 in torch."""


class TaskSpec(Spec):
    """The learning task: columns, kind and metric."""

    kind: str = "classification"
    """classification (one label per text), multilabel (any number of labels), pairs (two texts with one label), or
    package.module:Name."""
    text: str | None = None
    """Column with the text; detected by its name when omitted."""
    label: str | None = None
    """Column with the label (multilabel: a list, or names separated by commas); detected by its name when omitted."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Role -> column, for the other columns of a task that has more than a text and a label; detected when omitted."""
    metric: str | None = None
    """Metric that the search maximises: macro_f1 (default), micro_f1, weighted_f1 or accuracy, all of which are
    reported; a task of your own names its metrics and their default."""


class SplitSpec(Spec):
    """How missing splits are cut from train: stratified, seeded, identical texts in the same split."""

    validation: Annotated[float, Field(gt=0.0, le=0.5)] = 0.1
    """Fraction of train used as the validation split; ignored if data.validation is set."""
    test: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    """Fraction of train used as the test split; ignored if data.test is set. 0: no test split."""
    seed: Seed = 0
    """Random seed of the split; the same seed and data give the same split."""


class DataSpec(Spec):
    """The labelled text: files, encoding and splits."""

    train: str | list[str]
    """CSV, TSV, JSONL or Parquet files (globs are allowed), or a hub data set as hub:owner/name[@revision]."""
    validation: str | list[str] | None = None
    """Files or hub data set of the validation split, as for train; null: cut from train, see data.split."""
    test: str | list[str] | None = None
    """Files or hub data set of the test split, as for train; null: cut from train, see data.split. Only the winner is
    evaluated on it, once."""
    max_rows: Annotated[int, Field(ge=20)] | None = None
    """Use at most this many training rows (stratified, seeded); null: all."""
    encoding: str = "utf-8"
    """Character encoding of CSV, TSV and JSONL files, by its Python name, such as utf-8 or latin-1."""
    allow_overlap: bool = False
    """Continue even if more than 1% of a given validation or test split also occurs in train."""
    split: SplitSpec = SplitSpec()
    """How missing splits are cut from train."""


class ModelSpec(Spec):
    """One base model, and the depths at which it is a candidate."""

    base: str
    """Name in the ladder (``lft env --models`` lists them), a local folder, or a hub id."""
    layers: list[PositiveInt] | None = None
    """Numbers of layers to keep, counted from the embeddings; each is one model size. null: all layers."""
    revision: str | None = None
    """Hub commit or tag; null: the one pinned in the ladder, else main."""
    allow_bin: bool = False
    """Accept weights that exist only as .bin files (read with weights_only, stored as safetensors)."""


class SearchSpec(Spec):
    """How many trials, which sampler and stop rule, and when to stop."""

    trials: PositiveInt = 24
    """Maximum number of trials, not counting the fresh-seed runs of the finalists."""
    minutes: PositiveFloat | None = None
    """Wall-clock minutes from the first trial to the decision; trials still running at the deadline are stopped."""
    budget_usd: PositiveFloat | None = None
    """Training budget in dollars, retries included. A trial starts only if its worst-case cost still fits."""
    concurrency: Literal["auto"] | PositiveInt = "auto"
    """Trials that run at the same time; auto: as many as the cluster's resources allow."""
    sampler: str = "gp"
    """gp, tpe, random, known_cost (models F1 only; serving cost is known from the profiles, and the predicted training
    cost is taken into account), or package.module:Name of an Optuna sampler."""
    scheduler: SchedulerName = "fifo"
    """fifo (every trial runs to completion), dominance (stops trials whose F1 is predicted to stay below that of a
    trial that costs no more to serve; at most one in ten is stopped wrongly), mo_asha (stops up to two of three trials
    early, within octaves of serving cost), or package.module:Name of a stop rule."""
    seed: Seed = 0
    """Random seed of the sampler and of the trials."""
    deterministic: bool | None = None
    """Report results to the sampler in trial order, so that the same seed gives the same trials. null: on unless
    minutes or budget_usd is set, since then the clock decides which trials start."""
    object_store_mb: Annotated[int, Field(ge=80)] = 256
    """Size in MB of the Ray object store of a cluster that the study starts itself."""

    @property
    def is_deterministic(self) -> bool:
        """Whether the trial order alone determines the proposals."""
        if self.deterministic is not None:
            return self.deterministic
        return self.minutes is None and self.budget_usd is None


class TrafficSpec(Spec):
    """The expected load of the endpoint."""

    requests_per_month: PositiveInt = 10_000_000
    """Requests per month, one text each; used for monthly cost and break-even."""
    p95_ms: PositiveFloat | None = None
    """Latency limit: model sizes with a higher measured p95 latency are not trained. null: no limit."""


class CostSpec(Spec):
    """Prices and expected traffic, from which training and serving costs are computed."""

    price: str = "this_machine"
    """A row of the price sheet (``lft env --prices`` lists it)."""
    spot: bool = False
    """Use the spot price for training, if the row has one."""
    usd_per_core_hour: PositiveFloat | None = None
    """Your own price of a core-hour; overrides the price sheet."""
    usd_per_device_hour: PositiveFloat | None = None
    """Your own price of a device-hour (one whole accelerator); overrides the price sheet."""
    utilisation: Annotated[float, Field(gt=0.0, le=1.0)] = 0.6
    """Average utilisation of the serving cores in production, as a fraction."""
    traffic: TrafficSpec = TrafficSpec()
    """Expected load of the endpoint."""


class SelectionSpec(Spec):
    """How the winner is chosen from the Pareto front, and how it is confirmed."""

    policy: str = "cheapest_within"
    """cheapest_within (the cheapest finalist whose F1 loss is within the margin), best_f1, or package.module:Name."""
    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.005
    """F1 that may be given up for a lower cost, as a fraction: 0.005 is half a point. The one-sided 95% upper bound of
    the loss against the best finalist must be within it, by paired bootstrap over rows and seeds. With too few rows or
    seeds for such a claim, the cheapest finalist within the margin or one standard error wins, whichever is larger."""
    max_usd_per_million: PositiveFloat | None = None
    """Limit on the serving cost in dollars per million predictions: more expensive sizes are not trained and cannot
    win. null: no limit."""
    confirmation_fraction: Share = 0.3
    """Fraction of search.minutes and search.budget_usd reserved for repeat runs of the finalists with fresh seeds, as
    many as fit; what the search leaves over is used too. Without a time or dollar limit: this fraction of
    search.trials. 0: no repeat runs."""
    confirmation_seeds: PositiveInt | None = None
    """Maximum number of fresh seeds per finalist; null: 3, or 5 with fewer than 1,000 validation rows."""


class ExportSpec(Spec):
    """Precisions and lengths in which trained checkpoints are evaluated, profiled and offered."""

    precisions: Annotated[list[Precision], Field(min_length=1)] = ["fp32"]
    """Each trained checkpoint is evaluated, profiled and offered at each of these, without further training. The first,
    at training.max_length, is the reference: the final F1 of a trial's learning curve. int8 needs fp32 before it: int8
    predictions are checked against fp32, and fp32 is shipped if they differ too much."""
    max_lengths: list[Annotated[int, Field(ge=8)]] | None = None
    """Shorter maximum lengths in tokens at which each network is offered too, at every precision; profiling takes about
    4 s for each. The trained length is always offered; null: only that one. A length that truncates no sample text is
    skipped."""

    @model_validator(mode="after")
    def _int8_has_its_reference(self) -> Self:
        if "int8" in self.precisions and "fp32" not in self.precisions[: self.precisions.index("int8")]:
            raise ValueError("precisions: int8 needs fp32 before it, such as [fp32, int8]")
        return self


class ClusterSpec(Spec):
    """The Ray cluster that runs the trials."""

    address: str | None = None
    """null: a cluster on this machine, started and stopped by the study; auto or host:port: an existing cluster."""


class Experiment(Spec):
    """One experiment: the whole YAML file."""

    name: RunName
    """Name of the run, and of its folder below storage: lower-case letters, digits, dots, hyphens and underscores."""
    task: TaskSpec = TaskSpec()
    """The learning task."""
    data: DataSpec
    """The labelled text."""
    models: Annotated[list[ModelSpec], Field(min_length=1)]
    """Base models, and the depths at which each is a candidate."""
    training: TrainingSpec = TrainingSpec()
    """How a trial trains: hyperparameters and resources."""
    search: SearchSpec = SearchSpec()
    """The hyperparameter search: budget, sampler and stop rule."""
    cost: CostSpec = CostSpec()
    """Prices and expected traffic."""
    selection: SelectionSpec = SelectionSpec()
    """How the winner is chosen."""
    export: ExportSpec = ExportSpec()
    """Precisions and lengths to offer."""
    serve: ServeSpec = ServeSpec()
    """The endpoint."""
    cluster: ClusterSpec = ClusterSpec()
    """The Ray cluster."""
    storage: str = "runs"
    """Folder or URI (s3://, gs://) under which run folders are stored. A cluster of several nodes needs a URI or a
    shared mount."""

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] | None = None) -> "Experiment":
        """Read an experiment file: YAML, ``extends``, then ``overrides`` (``a.b=c``).

        Raises:
            ConfigError: the file is missing or not YAML, or a value is invalid; the message lists every mistake.
        """
        return cls.parse(read_tree(Path(path), overrides or (), cls), source=str(path))

    @classmethod
    def parse(cls, tree: dict[str, Any], *, source: str = "experiment") -> "Experiment":
        """Validate a plain dictionary.

        Args:
            tree: keys and values of the experiment file.
            source: name of the file, for the error message.

        Raises:
            ConfigError: naming every wrong key with its dotted path.
        """
        return validated(cls, tree, source=source)

    def with_overrides(self, overrides: Sequence[str]) -> "Experiment":
        """Return a copy with overrides such as ``a.b=c`` applied.

        Raises:
            ConfigError: naming every wrong key.
        """
        if not overrides:
            return self
        return self.parse(overridden(self.model_dump(mode="json"), overrides, type(self)), source="--set")

    def to_yaml(self) -> str:
        """The resolved experiment as YAML; parsing it again gives an equal experiment."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        trained = self.training.max_length
        over = [length for length in self.export.max_lengths or [] if length > trained]
        if over:
            raise ValueError(f"export.max_lengths: {max(over)} is above training.max_length {trained}")
        return self

    @property
    def max_lengths(self) -> list[int]:
        """Maximum lengths in tokens at which a network is offered, the trained (longest) one first."""
        return sorted({self.training.max_length, *(self.export.max_lengths or [])}, reverse=True)

    @property
    def run_uri(self) -> str:
        """URI of the run folder: ``<storage>/<name>``."""
        return joined(self.storage, [self.name])
