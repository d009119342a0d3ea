"""Hyperparameters and resources of a trial: the section ``training`` of an experiment.

In: plain values. Out: frozen specs. Never trains.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lft_ray.config.base import LearningRates, Range, Share, Spec
from lft_ray.config.methods import (
    ClassWeights,
    Decays,
    DistillSpec,
    EarlyStoppingSpec,
    LoraSpec,
    Methods,
    Whole,
    check_conditions,
)

__all__ = ["ResourcesSpec", "TrainingSpec"]


class ResourcesSpec(Spec):
    """Resources of one training worker."""

    cpu: PositiveFloat = 1
    """CPU cores."""
    gpu: Literal["auto"] | Annotated[float, Field(ge=0.0)] = "auto"
    """Accelerators per worker, as a number or a fraction of one device. auto: 0 if the cluster has none; a whole device
    for each of several workers; for trials of one worker the fraction that packs as many on a device as its memory
    holds, as measured before the search. A fraction also limits the device memory of a trial."""


class TrainingSpec(Spec):
    """How a trial trains. Lists and ranges are searched, single values are fixed."""

    method: Methods = ["full", "linear_probe"]
    """full: all weights are trained on the labels. distill: like full, plus a loss on the predictions of the best
    finished trial of a size that is more expensive to serve; proposed once there is such a trial. freeze: the
    embeddings and the first ``frozen_layers`` layers are not trained. lora: low-rank factors, merged at the end.
    linear_probe: only the linear head is trained, on frozen features."""
    frozen_layers: Whole = [1, 2, 3]
    """Encoder layers above the embeddings that are not trained, for method freeze. A number that leaves a model size no
    layer to train is lowered to the largest listed number that does."""
    lora: LoraSpec = LoraSpec()
    """Hyperparameters of method lora."""
    layer_decay: Decays = 1.0
    """Layer-wise learning rate decay: factor per layer below the head; 1: the same rate in all layers. Not used by
    linear_probe."""
    distill: DistillSpec = DistillSpec()
    """Hyperparameters of method distill."""
    learning_rate: LearningRates = Range(low=1e-5, high=1e-3)
    """Peak learning rate of AdamW."""
    batch_size: Annotated[list[PositiveInt], Field(min_length=1)] | PositiveInt = [16, 32, 64]
    """Texts per optimiser step, over all workers."""
    epochs: Annotated[list[PositiveInt], Field(min_length=1)] | PositiveInt = [1, 2, 3]
    """Passes over the training split."""
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128
    """Maximum tokens per text, in training, evaluation and serving; longer texts are truncated."""
    workers: Literal["auto"] | PositiveInt = 1
    """Workers per trial; a trial of several workers is sharded with Ray Train. auto: one if the largest network fits
    into a worker's memory, as measured before the search, else as few as can hold its shards."""
    sharding: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several workers share a trial. ddp: each worker holds all weights. fsdp: each worker holds a shard of
    weights, gradients and optimiser moments (FSDP2). auto: fsdp if those would take more than 70% of a worker's
    memory."""
    resources: ResourcesSpec = ResourcesSpec()
    """Resources of each worker."""
    micro_batch_tokens: Annotated[int, Field(ge=128)] = 4096
    """Maximum padded tokens per forward pass; a larger batch is split by gradient accumulation, and into smaller parts
    if memory runs out. Does not change the gradient."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the training computation. auto: bf16 with fp32 master weights if the processor or device has
    native support, else fp32."""
    head_init: Literal["linear_probe", "random"] = "linear_probe"
    """Initial weights of the head. linear_probe: a linear probe fitted on the frozen features. random: random
    weights."""
    class_weights: ClassWeights = "none"
    """Weights of the labels in the loss. balanced: inversely proportional to their frequency. A list is searched."""
    schedule: Literal["linear", "cosine", "warmup_stable_decay"] = "linear"
    """Learning rate schedule after the warmup, down to zero. warmup_stable_decay: constant, then linear over the last
    fifth of the steps."""
    warmup: Share = 0.1
    """Fraction of the steps (warmup_stable_decay: of the steps of the first epoch) over which the learning rate
    rises."""
    early_stopping: EarlyStoppingSpec | None = None
    """Early stopping within a trial: it ends, with status done, once validation F1 no longer improves; the learning
    rate may not have decayed by then. null: every trial runs to the end of its schedule."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """Weight decay of AdamW."""
    clip_norm: PositiveFloat = 1.0
    """Maximum norm of the gradient; larger gradients are scaled down to it."""
    evaluations: Annotated[int, Field(ge=1, le=50)] = 3
    """Number of validation passes, at equal fractions of the schedule; the last is at its end."""
    checkpoint_every_s: Annotated[float, Field(ge=0.0)] = 30.0
    """Minimum seconds between two checkpoints of the training state: the most work that a crash can lose."""
    activation_cache_gb: Annotated[float, Field(ge=0.0)] = 4.0
    """Disk space per node, in GB, for cached activations of frozen layers, which all trials share; the least recently
    used are evicted first. Activations that do not fit are recomputed in every pass. 0: no cache."""

    @model_validator(mode="after")
    def _methods_fit(self) -> Self:
        named = {"frozen_layers": self.frozen_layers, "layer_decay": self.layer_decay}
        check_conditions(named | {"lora_rank": self.lora.rank, "lora_alpha": self.lora.alpha})
        if self.early_stopping is not None and self.early_stopping.patience >= self.evaluations:
            raise ValueError(
                f"training.early_stopping.patience is {self.early_stopping.patience}: with training.evaluations "
                f"{self.evaluations} no trial could stop early; expected at most {self.evaluations - 1}"
            )
        return self

    @property
    def worker_count(self) -> int:
        """Number of workers per trial; 1 while ``auto`` is unresolved."""
        return 1 if self.workers == "auto" else self.workers
