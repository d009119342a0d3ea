"""Tasks: what is learned. A task defines columns, checks, targets, head size, loss, metrics, decoding and wire schema.

To add one, write a class with the members of `lft_ray.tasks.base.Task` and set ``task.kind: package.module:Name``.
"""

TASKS = {
    "classification": "lft_ray.tasks.classification:Classification",
    "multilabel": "lft_ray.tasks.multilabel:Multilabel",
    "pairs": "lft_ray.tasks.pairs:Pairs",
    "question_answering": "lft_ray.tasks.questions.task:Questions",
}

__all__ = ["TASKS"]
