"""The onnxruntime engine: a folder that `lft_ray.engines.onnx_build` wrote, run on processor cores in fp32 or int8.

In: texts. Out: float32 logits. Opening and answering import neither torch nor transformers: with tokenizer and graph a
replica is up in a third of a second, where importing torch alone takes two.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded, padded
from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.tokens import TextTokenizer

__all__ = ["GRAPH", "OnnxEngine", "OnnxRunner"]

GRAPH = "model.onnx"


class OnnxEngine:
    """Opens folders with a graph of one precision."""

    name = "onnxruntime"
    precisions: tuple[str, ...] = ("fp32", "int8")

    @classmethod
    def open(cls, folder: Path, *, precision: str, threads: int, max_length: int | None = None) -> "OnnxRunner":
        """Open a folder.

        Args:
            folder: written by `lft_ray.engines.onnx_build.build_onnx`.
            precision: the one it was built at.
            threads: cores of one forward pass.
            max_length: tokens kept of a text, at most the card's; None: the card's.

        Raises:
            BundleError: files are missing or do not fit each other, or precision or length is not one it has.
        """
        if precision not in cls.precisions:
            known = " or ".join(cls.precisions)
            raise BundleError(f"engine onnxruntime has no precision {precision!r}: expected {known}")
        whole = EngineCard.read(folder)
        if whole.precision != precision:
            raise BundleError(f"{folder} was built at {whole.precision or 'no precision'!r}, not at {precision!r}")
        card = whole.cut_at(max_length)
        # A second pool of threads, in the tokenizer, would take the cores that the replica was not given.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        return OnnxRunner(_session(folder, threads), TextTokenizer(folder), card)


class OnnxRunner:
    """An opened graph.

    Args:
        session: of onnxruntime; several threads may run it at a time.
        tokenizer: of the same folder.
        card: its length, outputs and padding.
    """

    def __init__(self, session: Any, tokenizer: TextTokenizer, card: EngineCard) -> None:
        self.max_length = card.max_length
        self._session = session
        self._tokenizer = tokenizer
        self._pad_id = card.pad_id

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Token ids of each text; the end token is kept where a text is cut."""
        return self._tokenizer.encode(texts, self.max_length)

    def run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Logits [n, outputs] of a batch, padded to its longest member."""
        ids, mask = padded(batch, self._pad_id)
        logits: NDArray[np.float32] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return logits


def _session(folder: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait take the cores of others: with 2 threads on 2 busy cores one text at a
    # time cost 25 ms of processor time instead of 16, and was answered no sooner.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A plan of memory is kept for each shape of batch, and texts have all shapes. The arena itself stays: 12% less
    # processor time and 25 MB less than plain malloc, for MiniLM in int8.
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(
            str(folder / GRAPH), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises classes of its own, which share no base
        raise BundleError(f"{folder / GRAPH} cannot be opened by onnxruntime: {error}") from error
    if {one.name for one in session.get_inputs()} != {"input_ids", "attention_mask"}:
        raise BundleError(f"{folder / GRAPH} does not read input_ids and attention_mask")
    return session
