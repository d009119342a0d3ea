"""The experiment tree: every knob on one page, each with its text below it.

In: plain dictionaries (see `load` for YAML, ``extends`` and ``--set``). Out: a frozen `Experiment`.
Never reads data, never imports torch or Ray. Floats stay in pydantic's lax mode: YAML 1.1 reads ``1e-5`` as a string.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lft_ray.config.base import Range, RunName, SchedulerName, Share, Spec
from lft_ray.config.load import overridden, read_tree, validated
from lft_ray.config.methods import DistillSpec
from lft_ray.config.serving import AutoscalingSpec, RolloutSpec, ServeSpec
from lft_ray.config.training import ResourcesSpec, TrainingSpec

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
"""Number formats that a trained checkpoint can be served in: fp32 and int8 run in onnxruntime, bf16 in torch."""


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
    """gp, tpe, random, known_cost (one model of F1; serving costs are known and training dollars are weighed), or
    package.module:Name of an Optuna sampler."""
    scheduler: SchedulerName = "fifo"
    """fifo (every trial runs to its end), dominance (ends trials whose F1 will stay below what is served for no more,
    at most one in ten of them wrongly), mo_asha (ends two of three early, within octaves of serving cost), or
    package.module:Name of a stop rule."""
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
    """cheapest_within (the cheapest finalist that loses no more than the margin), best_f1, or package.module:Name."""
    margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.005
    """F1 that may be given up for a lower cost, as a fraction: 0.005 is half a point. To be held by the one-sided 95%
    upper bound of the loss against the best finalist, by paired bootstrap over rows and seeds; where too few rows or
    seeds allow no such claim, the cheapest within the margin or one standard error wins, whichever is larger."""
    max_usd_per_million: PositiveFloat | None = None
    """Points above this cost cannot win and are not trained."""
    confirmation_fraction: Share = 0.3
    """Share of minutes and dollars kept for runs of the finalists with fresh seeds, as many as fit; what the search
    leaves is used, too. Without minutes and dollars: this share of search.trials. 0: none."""
    confirmation_seeds: PositiveInt | None = None
    """Fresh seeds of a finalist at most; null: 3, and 5 under 1,000 validation rows."""


class ExportSpec(Spec):
    """What is made of the winner."""

    precisions: Annotated[list[Precision], Field(min_length=1)] = ["fp32"]
    """Each trained checkpoint is evaluated, profiled and offered at each of these, without more training. The first, at
    training.max_length, is the reference: its F1 is what a trial's curve ends with. int8 needs fp32 before it, which it
    is checked against and which is shipped where int8 answers otherwise."""
    max_lengths: list[Annotated[int, Field(ge=8)]] | None = None
    """Shorter lengths in tokens at which each network is offered too, at every precision; about 4 s of profiling each.
    The trained length is always offered; null: only that. A length that cuts no sample text is left out."""

    @model_validator(mode="after")
    def _int8_has_its_reference(self) -> Self:
        if "int8" in self.precisions and "fp32" not in self.precisions[: self.precisions.index("int8")]:
            raise ValueError("precisions: int8 needs fp32 before it, such as [fp32, int8]")
        return self


class ClusterSpec(Spec):
    """Which Ray cluster runs the work."""

    address: str | None = None
    """null: a cluster on this machine, started and stopped by the study; auto or host:port: an existing one."""


class Experiment(Spec):
    """One experiment: the whole YAML file."""

    name: RunName
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
    def load(cls, path: str | Path, overrides: Sequence[str] | None = None) -> "Experiment":
        """Read an experiment file: YAML, ``extends``, then ``overrides`` (``a.b=c``).

        Raises:
            ConfigError: the file is missing or not YAML, or any value is wrong; all mistakes are in one message.
        """
        return cls.parse(read_tree(Path(path), overrides or ()), source=str(path))

    @classmethod
    def parse(cls, tree: dict[str, Any], *, source: str = "experiment") -> "Experiment":
        """Validate a plain dictionary.

        Raises:
            ConfigError: naming every wrong key with its dotted path.
        """
        return validated(cls, tree, source=source)

    def with_overrides(self, overrides: Sequence[str]) -> "Experiment":
        """A copy with ``a.b=c`` applied.

        Raises:
            ConfigError: naming every wrong key.
        """
        if not overrides:
            return self
        return self.parse(overridden(self.model_dump(mode="json"), overrides), source="--set")

    def to_yaml(self) -> str:
        """The resolved experiment; reading it back gives an equal one."""
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
        """Lengths at which a network is offered: the trained one, then shorter ones, longest first."""
        return sorted({self.training.max_length, *(self.export.max_lengths or [])}, reverse=True)

    @property
    def run_uri(self) -> str:
        """Folder of this run: ``<storage>/<name>``."""
        return f"{self.storage.rstrip('/')}/{self.name}"
