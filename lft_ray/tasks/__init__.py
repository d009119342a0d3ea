"""WHAT is learned. A task owns its columns, targets, head, loss, scores, decoding and wire schema.

Your own: a class with the members of `lft_ray.tasks.base.Task`, named ``package.module:Name`` at ``task.kind``.
"""

TASKS = {
    "classification": "lft_ray.tasks.classification:Classification",
    "multilabel": "lft_ray.tasks.multilabel:Multilabel",
}

__all__ = ["TASKS"]
