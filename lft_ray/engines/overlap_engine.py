"""The overlap engine: answers questions by shared words, in numpy.

In: questions with contexts. Out: rows of `lft_ray.tasks.questions.layout`. Never imports torch.
"""

from lft_ray.engines.sklearn_engine import SklearnEngine
from lft_ray.models.floors import FloorModel
from lft_ray.models.overlap import OverlapModel

__all__ = ["OverlapEngine"]


class OverlapEngine(SklearnEngine):
    """Opens folders written by `lft_ray.models.overlap.OverlapModel.save`."""

    name = "overlap"
    model: type[FloorModel] = OverlapModel
