"""How one trial trains, and what its workers hold: the part ``training`` of an experiment. Values only."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lft_ray.config.base import LearningRates, Range, Share, Spec
from lft_ray.config.methods import Decays, DistillSpec, EarlyStoppingSpec, LoraSpec, Methods, Whole, check_conditions

__all__ = ["ResourcesSpec", "TrainingSpec"]


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
    """full: every weight is trained on the labels. distill: so, and on the answers of the best finished trial of a size
    that is more expensive to serve; proposed as soon as there is one. freeze: embeddings and the first
    ``frozen_layers`` keep their weights. lora: low-rank factors, merged at the end. linear_probe: only the linear head
    is trained, on frozen features."""
    frozen_layers: Whole = [1, 2, 3]
    """Of method freeze. A number that leaves a model size no layer to train becomes the greatest listed that does."""
    lora: LoraSpec = LoraSpec()
    layer_decay: Decays = 1.0
    """Factor of the learning rate for each layer below the head; 1: all layers learn alike. linear_probe has none."""
    distill: DistillSpec = DistillSpec()
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
    head_init: Literal["linear_probe", "random"] = "linear_probe"
    """linear_probe: the head starts as a linear probe fitted on the frozen features."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rare labels weigh more in the loss, inversely to their frequency."""
    schedule: Literal["linear", "cosine", "warmup_stable_decay"] = "linear"
    """How the learning rate falls to zero; warmup_stable_decay: over the last fifth, constant before it."""
    warmup: Share = 0.1
    """Share of the steps (warmup_stable_decay: of the first epoch's) over which the learning rate rises."""
    early_stopping: EarlyStoppingSpec | None = None
    """Set: a trial ends itself once validation gains no more, and is done as it is then. The learning rate may not have
    fallen yet. null: it runs to the end of its schedule."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    clip_norm: PositiveFloat = 1.0
    evaluations: Annotated[int, Field(ge=1, le=50)] = 3
    """Validation passes at equal fractions of the schedule; the last is at its end."""
    checkpoint_every_s: Annotated[float, Field(ge=0.0)] = 30.0
    """Least seconds between two saves of the training state: what a crash can cost."""
    activation_cache_gb: Annotated[float, Field(ge=0.0)] = 4.0
    """Disk of a node for the activations of frozen layers, computed once for all trials; what was unused longest goes
    first. A split pair that needs more is computed in every pass. 0: always."""

    @model_validator(mode="after")
    def _methods_fit(self) -> Self:
        named = {"frozen_layers": self.frozen_layers, "layer_decay": self.layer_decay}
        check_conditions(named | {"lora_rank": self.lora.rank, "lora_alpha": self.lora.alpha})
        if self.early_stopping is not None and self.early_stopping.patience >= self.evaluations:
            raise ValueError(
                f"training.early_stopping.patience is {self.early_stopping.patience}: with training.evaluations "
                f"{self.evaluations} no trial could end early; expected at most {self.evaluations - 1}"
            )
        return self

    @property
    def worker_count(self) -> int:
        """Workers of a trial; one while ``auto`` has not been decided."""
        return 1 if self.workers == "auto" else self.workers
