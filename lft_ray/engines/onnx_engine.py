"""The onnxruntime engine: runs folders written by `lft_ray.engines.onnx_build` on CPU cores, in fp32 or int8.

In: texts. Out: float32 logits. Never imports torch or transformers: with tokenizer and graph a replica starts in a
third of a second, whereas importing torch alone takes two seconds.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.engines.base import Encoded, padded, segment_numbers
from lft_ray.engines.reading import Reader, reader_of
from lft_ray.errors import BundleError
from lft_ray.models.engine_card import EngineCard
from lft_ray.texts import Text

__all__ = ["GRAPH", "OnnxEngine", "OnnxRunner", "input_names"]

GRAPH = "model.onnx"


class OnnxEngine:
    """Opens folders with an ONNX graph of one precision."""

    name = "onnxruntime"
    precisions: tuple[str, ...] = ("fp32", "int8")

    @classmethod
    def open(cls, folder: Path, *, precision: str, threads: int, max_length: int | None = None) -> "OnnxRunner":
        """Open a folder.

        Args:
            folder: folder written by `lft_ray.engines.onnx_build.build_onnx`.
            precision: precision at which the folder was built.
            threads: number of CPU cores for one forward pass.
            max_length: maximum tokens per text, at most the card's; None: the card's.

        Raises:
            BundleError: files are missing or inconsistent, or the precision or the length is not supported.
        """
        if precision not in cls.precisions:
            known = " or ".join(cls.precisions)
            raise BundleError(f"engine onnxruntime has no precision {precision!r}: expected {known}")
        whole = EngineCard.read(folder)
        if whole.precision != precision:
            raise BundleError(f"{folder} was built at {whole.precision or 'no precision'!r}, not at {precision!r}")
        card = whole.with_max_length(max_length)
        # A second thread pool, in the tokenizer, would use more cores than the replica was allocated.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        return OnnxRunner(_session(folder, threads, input_names(card.segments)), reader_of(folder, card), card)


class OnnxRunner:
    """An opened ONNX graph.

    Args:
        session: onnxruntime session; thread-safe.
        reader: reads texts for the model of the same folder.
        card: engine card of the folder; gives the maximum length and the padding id.
    """

    def __init__(self, session: Any, reader: Reader, card: EngineCard) -> None:
        self.max_length = card.max_length
        self._session = session
        self._reader = reader
        self._pad_id = card.pad_id
        self._has_segments = card.segments > 1

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Encode each text or pair; truncated texts keep their end token."""
        return self._reader.encode(texts)

    def run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Compute one row for each text of a batch, [n, k]."""
        return self._reader.rows(batch, self.forward)

    def forward(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """Compute logits [n, outputs] or [n, t, outputs] of sequences, padded to the longest."""
        ids, mask = padded(batch, self._pad_id)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._has_segments:
            inputs["token_type_ids"] = segment_numbers(batch)
        logits: NDArray[np.float32] = self._session.run(None, inputs)[0]
        return logits


def input_names(segments: int) -> list[str]:
    """Inputs of the graph of a network that reads so many texts at a time."""
    return ["input_ids", "attention_mask", *(["token_type_ids"] if segments > 1 else [])]


def _onnxruntime() -> Any:
    # From 1.32 on its import starts to send usage to its maker, also on Linux, with an id kept in the home folder and a
    # file left in the temporary one. Who sets the variable to 0 wants that.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def _session(folder: Path, threads: int, names: list[str]) -> Any:
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads take cores from other replicas: with 2 threads on 2 busy cores, one text at a time took 25 ms
    # of CPU time instead of 16, with no better latency.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Memory patterns are cached per batch shape, and text batches have arbitrary shapes. The arena stays enabled: 12%
    # less CPU time and 25 MB less memory than plain malloc, for MiniLM in int8.
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(
            str(folder / GRAPH), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # exceptions of onnxruntime share no base class
        raise BundleError(f"{folder / GRAPH} cannot be opened by onnxruntime: {error}") from error
    if {node.name for node in session.get_inputs()} != set(names):
        raise BundleError(f"{folder / GRAPH} does not have the inputs {', '.join(names)}")
    return session
