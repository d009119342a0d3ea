"""The PyTorch engine: a folder written by `lft_ray.models.network.save`, run in fp32 or bf16.

In: texts. Out: float32 logits. Uses the accelerator where there is one. Never imports Ray or HTTP, and
transformers only for an architecture that our own encoder does not know.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded, padded
from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.tokens import TextTokenizer

if TYPE_CHECKING:
    import torch

    from lft_ray.models.network import TextNetwork

__all__ = ["TorchEngine", "TorchRunner", "fast_fp32_matmul"]

_LARGEST_ERROR = 1e-5
"""Relative to the largest entry. On a Zen 5 core "medium" stays at 9e-7 (true bf16: 4e-3) and is 2.3x as fast; where
the processor has AMX it may really compute in bf16, which this limit keeps out of fp32."""


class TorchEngine:
    """Opens network folders."""

    name = "torch"
    precisions: tuple[str, ...] = ("fp32", "bf16")

    @classmethod
    def open(cls, folder: Path, *, precision: str, threads: int, max_length: int | None = None) -> "TorchRunner":
        """Open a folder.

        Args:
            folder: written by `lft_ray.models.network.save`.
            precision: fp32 or bf16 (weights in bf16; logits are float32 either way).
            threads: cores of one forward pass; set for the whole process.
            max_length: tokens kept of a text, at most the card's; None: the card's.

        Raises:
            BundleError: files are missing or do not fit each other, or precision or length is not one it has.
        """
        if precision not in cls.precisions:
            raise BundleError(f"engine torch has no precision {precision!r}: expected {' or '.join(cls.precisions)}")
        import torch

        from lft_ray.models.network import at_precision, load

        torch.set_num_threads(threads)
        # A second pool of threads, in the tokenizer, would take the cores that the replica was not given.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        card = EngineCard.read(folder).cut_at(max_length)
        network = load(folder)
        limit = network.shape.max_tokens
        if limit is not None and card.max_length > limit:
            raise BundleError(f"{folder} says max_length {card.max_length}, but its network reads {limit} tokens")
        if precision == "fp32":
            fast_fp32_matmul()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tokenizer = TextTokenizer(folder)
        return TorchRunner(at_precision(network, precision).eval().to(device), tokenizer, card.max_length)


class TorchRunner:
    """An opened network.

    Args:
        network: in evaluation mode, on its device.
        tokenizer: of the same folder.
        max_length: tokens kept of a text.
    """

    def __init__(self, network: "TextNetwork", tokenizer: TextTokenizer, max_length: int) -> None:
        self.max_length = max_length
        self._network = network
        self._tokenizer = tokenizer
        self._device = network.head.weight.device

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Token ids of each text; the end token is kept where a text is cut."""
        return self._tokenizer.encode(texts, self.max_length)

    def run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Logits [n, outputs] of a batch, padded to its longest member."""
        import torch

        ids, mask = padded(batch, self._network.pad_id)
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device))
        answer: NDArray[np.float32] = logits.float().cpu().numpy()
        return answer


@lru_cache(maxsize=1)
def fast_fp32_matmul() -> str:
    """Let this process multiply float32 matrices as fast as stays exact. Measured once; returns the setting kept."""
    import torch

    generator = torch.Generator().manual_seed(0)
    left = torch.randn(64, 384, generator=generator)
    right = torch.randn(384, 1536, generator=generator)
    torch.set_float32_matmul_precision("highest")
    exact = left @ right
    torch.set_float32_matmul_precision("medium")
    error = _relative_error(left @ right, exact)
    kept = "medium" if error < _LARGEST_ERROR else "highest"
    torch.set_float32_matmul_precision(kept)
    return kept


def _relative_error(got: "torch.Tensor", exact: "torch.Tensor") -> float:
    return float((got - exact).abs().max() / exact.abs().max())
