"""The experiment file: its schema, and how it is read and validated."""

from lft_ray.config.base import Range, Spec
from lft_ray.config.experiment import (
    ClusterSpec,
    CostSpec,
    DataSpec,
    Experiment,
    ExportSpec,
    ModelSpec,
    Precision,
    SearchSpec,
    SelectionSpec,
    SplitSpec,
    TaskSpec,
    TrafficSpec,
)
from lft_ray.config.methods import DistillSpec
from lft_ray.config.serving import AutoscalingSpec, RolloutSpec, ServeSpec
from lft_ray.config.training import ResourcesSpec, TrainingSpec

__all__ = [
    "AutoscalingSpec", "ClusterSpec", "CostSpec", "DataSpec", "DistillSpec", "Experiment", "ExportSpec", "ModelSpec",
    "Precision", "Range", "ResourcesSpec", "RolloutSpec", "SearchSpec", "SelectionSpec", "ServeSpec", "Spec",
    "SplitSpec", "TaskSpec", "TrafficSpec", "TrainingSpec",
]  # fmt: skip
