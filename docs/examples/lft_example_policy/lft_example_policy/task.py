"""A task: ratings, where a wrong answer is worse the further off it is."""

from typing import TYPE_CHECKING

from lft_ray.tasks.classification import Classification

if TYPE_CHECKING:
    import torch

__all__ = ["Stars"]

DISTANCE_WEIGHT = 0.1
"""Weight of the expected squared distance, in labels, beside the cross-entropy."""


class Stars(Classification):
    """Texts with one rating each. Labels that are whole numbers are ordered by number, so positions are ratings."""

    kind = "lft_example_policy.task:Stars"

    def loss(self, logits: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor | None") -> "torch.Tensor":
        """Return the SUM over the texts of cross-entropy and expected squared distance, in fp32.

        Args:
            logits: float [n, c].
            targets: int64 [n].
            weights: float [c] or None.
        """
        import torch

        logits = logits.float()
        ratings = torch.arange(logits.shape[1], device=logits.device)
        squared = (ratings[None, :] - targets[:, None]) ** 2
        distance = (logits.softmax(dim=1) * squared).sum(dim=1)
        if weights is not None:
            distance = distance * weights[targets]
        return super().loss(logits, targets, weights) + DISTANCE_WEIGHT * distance.sum()
