"""The PyTorch engine: runs folders written by `lft_ray.models.network.save`, in fp32 or bf16.

In: texts. Out: float32 logits. Uses an accelerator if there is one. Never imports Ray or HTTP code, and imports
transformers only for architectures that our own encoder cannot run.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded, padded, segment_numbers
from lft_ray.engines.reading import Reader, reader_of
from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.texts import Text

if TYPE_CHECKING:
    import torch

    from lft_ray.models.network import TextNetwork

__all__ = ["TorchEngine", "TorchRunner", "fast_fp32_matmul"]

_MAX_RELATIVE_ERROR = 1e-5
"""Allowed error relative to the largest entry. On a Zen 5 core "medium" has an error of 9e-7 (real bf16: 4e-3) and is
2.3x as fast; on a CPU with AMX it may compute in real bf16, which this limit rules out for fp32."""


class TorchEngine:
    """Opens folders of networks."""

    name = "torch"
    precisions: tuple[str, ...] = ("fp32", "bf16")

    @classmethod
    def open(cls, folder: Path, *, precision: str, threads: int, max_length: int | None = None) -> "TorchRunner":
        """Open a folder.

        Args:
            folder: folder written by `lft_ray.models.network.save`.
            precision: fp32 or bf16 (weights in bf16; logits are float32 either way).
            threads: number of CPU cores for one forward pass; set for the whole process.
            max_length: maximum tokens per text, at most the card's; None: the card's.

        Raises:
            BundleError: files are missing or inconsistent, or the precision or the length is not supported.
        """
        if precision not in cls.precisions:
            raise BundleError(f"engine torch has no precision {precision!r}: expected {' or '.join(cls.precisions)}")
        import torch

        from lft_ray.models.network import at_precision, load

        torch.set_num_threads(threads)
        # A second thread pool, in the tokenizer, would use more cores than the replica was allocated.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        card = EngineCard.read(folder).with_max_length(max_length)
        network = load(folder)
        limit = network.shape.max_tokens
        if limit is not None and card.max_length > limit:
            raise BundleError(f"{folder} says max_length {card.max_length}, but its network reads {limit} tokens")
        if precision == "fp32":
            fast_fp32_matmul()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return TorchRunner(at_precision(network, precision).eval().to(device), reader_of(folder, card), card)


class TorchRunner:
    """An opened network.

    Args:
        network: network in evaluation mode, on its device.
        reader: reads texts for the model of the same folder.
        card: engine card of the folder; gives the maximum length and the number of texts of an input.
    """

    def __init__(self, network: "TextNetwork", reader: Reader, card: EngineCard) -> None:
        self.max_length = card.max_length
        self._has_segments = card.segments > 1
        self._network = network
        self._reader = reader
        self._device = network.head.weight.device

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Encode each text or pair; truncated texts keep their end token."""
        return self._reader.encode(texts)

    def run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Compute one row for each text of a batch, [n, k]."""
        return self._reader.rows(batch, self.forward)

    def forward(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Compute logits [n, outputs] or [n, t, outputs] of sequences, padded to the longest."""
        import torch

        ids, mask = padded(batch, self._network.pad_id)
        if self._has_segments:
            ids = np.stack([ids, segment_numbers(batch)], axis=-1)
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device))
        result: NDArray[np.float32] = logits.float().cpu().numpy()
        return result


@lru_cache(maxsize=1)
def fast_fp32_matmul() -> str:
    """Enable faster float32 matrix products if they stay exact; return the setting. Measured once per process."""
    import torch

    generator = torch.Generator().manual_seed(0)
    left = torch.randn(64, 384, generator=generator)
    right = torch.randn(384, 1536, generator=generator)
    torch.set_float32_matmul_precision("highest")
    exact = left @ right
    torch.set_float32_matmul_precision("medium")
    error = _relative_error(left @ right, exact)
    setting = "medium" if error < _MAX_RELATIVE_ERROR else "highest"
    torch.set_float32_matmul_precision(setting)
    return setting


def _relative_error(got: "torch.Tensor", exact: "torch.Tensor") -> float:
    return float((got - exact).abs().max() / exact.abs().max())
