"""The experiment tree: every knob on one page, each with its text below it.

In: plain dictionaries (see ``experiment_file.py`` for YAML, ``extends`` and ``--set``). Out: a frozen `Experiment`.
Never reads data, never imports torch or Ray. Floats stay in pydantic's lax mode: YAML 1.1 reads ``1e-5`` as a string.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lft_ray.methods import Decays, DistilSpec, LoraSpec, Methods, PlateauSpec, Whole, check_conditions
from lft_ray.serving_spec import AutoscalingSpec, RolloutSpec, ServeSpec
from lft_ray.spec import LearningRates, Range, RunName, Share, Spec, StopRuleName

__all__ = [
    "AutoscalingSpec",
    "ClusterSpec",
    "CostSpec",
    "DataSpec",
    "DistilSpec",
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


class ResourcesSpec(Spec):
    """What one training worker holds."""

    cpu: PositiveFloat = 1
    gpu: Literal["auto"] | Annotated[float, Field(ge=0.0)] = "auto"
    """auto: none where the cluster has none; else a whole device for each of several workers, and for trials of one
    worker the fraction that packs as many on a device as its memory holds, as measured before the search. A fraction of
    your own packs as many as you say. The fraction caps a trial's memory, too."""


class TrainingSpec(Spec):
    """How one trial trains. Lists and ranges are searched, single values are fixed."""

    method: Methods = ["full"]
    """full: every weight is trained on the labels. distil: so, and on the answers of the best finished trial of a size
    that is dearer to serve; proposed as soon as there is one. frozen: embeddings and the first ``frozen_layers`` stay.
    lora: factors of low rank, merged at the end. head: the linear head alone."""
    frozen_layers: Whole = [1, 2, 3]
    """Of method frozen. A number that leaves a model size no layer to train becomes the greatest listed that does."""
    lora: LoraSpec = LoraSpec()
    layer_decay: Decays = 1.0
    """Factor of the learning rate for each layer below the head; 1: all layers learn alike. head has none."""
    distil: DistilSpec = DistilSpec()
    learning_rate: LearningRates = Range(low=1e-5, high=1e-3)
    batch_size: Annotated[list[PositiveInt], Field(min_length=1)] | PositiveInt = [16, 32, 64]
    """Texts per optimiser step, over all workers."""
    epochs: Annotated[list[PositiveInt], Field(min_length=1)] | PositiveInt = [1, 2, 3]
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128
    """Tokens kept of a text: in training, evaluation and serving alike."""
    workers: Literal["auto"] | PositiveInt = 1
    """More than one: the trial is sharded with Ray Train. auto: one where the largest network fits a worker's memory,
    as measured before the search, else as few as hold it in parts."""
    sharding: Literal["auto", "ddp", "fsdp"] = "auto"
    """Of several workers. ddp: each holds all weights. fsdp: each holds its part of weights, gradients and moments
    (FSDP2). auto: fsdp where those would take more than 70% of a worker's memory."""
    resources: ResourcesSpec = ResourcesSpec()
    micro_batch_tokens: Annotated[int, Field(ge=128)] = 4096
    """Padded tokens per forward pass; a step is cut into as many as it needs, and into smaller ones where memory runs
    out. Does not change the gradient."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the processor or device computes it natively, with fp32 master weights."""
    head_start: Literal["probe", "random"] = "probe"
    """probe: the head starts as a linear probe fitted on the frozen features."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rare labels weigh more in the loss, inversely to their frequency."""
    schedule: Literal["linear", "cosine", "warmup_stable_decay"] = "linear"
    """How the learning rate falls to zero; warmup_stable_decay: over the last fifth, constant before it."""
    warmup: Share = 0.1
    """Share of the steps (warmup_stable_decay: of the first epoch's) over which the learning rate rises."""
    plateau: PlateauSpec | None = None
    """Set: a trial ends itself once validation gains no more, and is done as it is then. The learning rate may not have
    fallen yet. null: it runs to the end of its schedule."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    clip_norm: PositiveFloat = 1.0
    evaluations: Annotated[int, Field(ge=1, le=50)] = 3
    """Validation passes at equal fractions of the schedule; the last is at its end."""
    checkpoint_every_s: Annotated[float, Field(ge=0.0)] = 30.0
    """Least seconds between two saves of the training state: what a crash can cost."""
    activations_gb: Annotated[float, Field(ge=0.0)] = 4.0
    """Disk of a node for what frozen layers answer, computed once for all trials; what was unused longest goes first. A
    split pair that needs more is computed in every pass. 0: always."""

    @model_validator(mode="after")
    def _methods_fit(self) -> Self:
        named = {"frozen_layers": self.frozen_layers, "layer_decay": self.layer_decay}
        check_conditions(named | {"lora_rank": self.lora.rank, "lora_alpha": self.lora.alpha})
        if self.plateau is not None and self.plateau.patience >= self.evaluations:
            raise ValueError(
                f"training.plateau.patience is {self.plateau.patience}: with training.evaluations {self.evaluations} "
                f"no trial could end early; expected at most {self.evaluations - 1}"
            )
        return self

    @property
    def worker_count(self) -> int:
        """Workers of a trial; one while ``auto`` has not been decided."""
        return 1 if self.workers == "auto" else self.workers


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
    scheduler: StopRuleName = "fifo"
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
    confirm_share: Share = 0.3
    """Share of minutes and dollars kept for runs of the finalists with fresh seeds: as many seeds as fit, at most 3 (5
    under 1,000 validation rows). Without minutes and dollars: this share of search.trials. 0: none."""


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
    def load(cls, path: str | Path, overrides: list[str] | None = None) -> "Experiment":
        """Read an experiment file. See `lft_ray.experiment_file.load`."""
        from lft_ray.experiment_file import load

        return load(Path(path), overrides or [])

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
