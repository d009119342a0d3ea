"""Export a trained network for LiteRT, formerly TensorFlow Lite: phones and boards run it without Python.

In: a finished trial of a run. Out: a folder with ``model.tflite`` (float32, one text of ``max_length`` tokens), its
``tokenizer.json`` and ``litert.json``, which says what goes in and what comes out. The converter is an extra of its own
(``lft-ray[tensorflow]``). Never stores a model whose predictions differ from those of the trained network.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.data.store import load_split
from lft_ray.engines.onnx_build import quiet
from lft_ray.errors import BundleError, InputError, first_line
from lft_ray.export.parity import ParityReport, compared
from lft_ray.models.convert import TOKENIZER
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.tokens import TextTokenizer
from lft_ray.records import DatasetRecord, Record, TrialRecord, TrialStatus
from lft_ray.run.checksums import check_folder
from lft_ray.run.storage import Storage
from lft_ray.tasks.find import make_task
from lft_ray.texts import Text

if TYPE_CHECKING:
    import torch

    from lft_ray.models.network import TextNetwork

__all__ = ["LiteRt", "export_litert"]

MODEL, CARD = "model.tflite", "litert.json"
PARITY_ROWS = 256
"""Validation texts in the parity check: each runs alone, padded to the full length."""
MOST_LOGIT_CHANGE = 1e-3
"""Allowed difference of a logit, relative to the largest: summing float32 in another order changes it by 1e-5."""
IDS, MASK, LOGITS = "input_ids", "attention_mask", "logits"
_EXTRA = "pip install 'lft-ray[tensorflow]', in an environment of its own, beside the run folder"


class LiteRt(Record):
    """Content of ``litert.json``."""

    trial_id: str
    model_size: str
    task_kind: str
    labels: list[str]
    max_length: int
    """Tokens of every input: shorter texts are padded with ``pad_id``, where the mask is 0."""
    pad_id: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    sha256: str
    """Of ``model.tflite``."""
    bytes: int
    parity_texts: int
    """Validation texts on which it was compared with the trained network."""
    parity_agreement: float
    """Share of them with the same prediction."""
    parity_largest_logit_change: float
    converter: str


def export_litert(record: TrialRecord, dataset: DatasetRecord, target: Storage, name: str, max_length: int) -> LiteRt:
    """Convert the checkpoint of a trial, compare it, and store it as folder ``name``.

    Args:
        record: a finished trial of a network.
        dataset: prepared data, for the validation texts.
        target: storage of the run folder.
        name: folder to write.
        max_length: tokens of an input.

    Raises:
        InputError: the converter is not installed, or the trial has no network that it converts.
        BundleError: the network cannot be converted, or the converted one predicts something else.
    """
    if record.status is not TrialStatus.DONE or not record.checkpoint_uri:
        raise InputError(f"trial {record.trial_id} ended as {record.status}: only a finished trial can be exported")
    if record.config.learning_rate is None:
        raise InputError(
            f"trial {record.trial_id} is {record.config.model_size}, a linear model: LiteRT runs networks alone",
            fix="name a trial of a network with --trial (`lft leaderboard` lists them)",
        )
    check_folder(record.checkpoint_uri, record.checkpoint_sha256)
    with Storage(record.checkpoint_uri).local_copy() as checkpoint, tempfile.TemporaryDirectory() as scratch:
        card = EngineCard.read(checkpoint).with_max_length(max_length)
        if card.segments != 1:
            told = "reads two texts at a time: only models of single texts are converted"
            raise InputError(f"trial {record.trial_id} {told}")
        converter = _converter()
        made = Path(scratch) / "litert"
        made.mkdir()
        network = _converted(checkpoint, made / MODEL, card)
        shutil.copyfile(checkpoint / TOKENIZER, made / TOKENIZER)
        texts = load_split(dataset, "validation").texts[:PARITY_ROWS]
        report, change = _checked(network, made, card, texts, dataset)
        written = LiteRt(
            trial_id=record.trial_id,
            model_size=record.config.model_size,
            task_kind=dataset.task_kind,
            labels=dataset.labels,
            max_length=card.max_length,
            pad_id=network.pad_id,
            inputs={IDS: f"int32 [1, {card.max_length}]", MASK: f"int32 [1, {card.max_length}]"},
            outputs={LOGITS: f"float32 [1, {network.outputs}]"},
            sha256=hashlib.sha256((made / MODEL).read_bytes()).hexdigest(),
            bytes=(made / MODEL).stat().st_size,
            parity_texts=report.texts,
            parity_agreement=report.agreement,
            parity_largest_logit_change=change,
            converter=converter,
        )
        (made / CARD).write_text(written.model_dump_json(indent=1) + "\n", encoding="utf-8")
        target.put_folder(name, made)
    return written


def _converter() -> str:
    """Name and version of the converter.

    Raises:
        InputError: it is not installed, or cannot be imported beside the other packages.
    """
    try:
        with quiet():
            import ai_edge_litert.interpreter  # noqa: F401
            import litert_torch
    except Exception as error:  # a binary that does not fit raises many types
        raise InputError(
            f"--format litert needs the packages litert-torch and ai-edge-litert: {first_line(error)}", fix=_EXTRA
        ) from error
    litert_torch.config.show_progress = False
    return f"litert-torch {litert_torch.__version__}"


def _converted(checkpoint: Path, path: Path, card: EngineCard) -> "TextNetwork":
    """Convert the network of a checkpoint. Returns that network."""
    import litert_torch
    import torch

    from lft_ray.models.network import load

    network = load(checkpoint).eval()
    shape = (1, card.max_length)
    # One token and padding: the mask must not be optimised away.
    mask = torch.zeros(shape, dtype=torch.int32)
    mask[0, 0] = 1
    sample = {IDS: torch.full(shape, network.pad_id, dtype=torch.int32), MASK: mask}
    try:
        with quiet():
            litert_torch.convert(_served(network), sample_kwargs=sample).export(str(path))
    except Exception as error:  # operators without a counterpart raise many types
        raise BundleError(
            f"{network.shape.family} cannot be converted to LiteRT: {type(error).__name__}: {first_line(error)}",
            fix="`lft export` without --format writes a bundle that serves it",
        ) from error
    return network


def _served(network: "TextNetwork") -> "torch.nn.Module":
    """The network with names for its inputs and its output."""
    import torch

    class Served(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
            return {LOGITS: self.network(input_ids, attention_mask)}

    return Served().eval()


def _checked(
    network: "TextNetwork", made: Path, card: EngineCard, texts: Sequence[Text], dataset: DatasetRecord
) -> tuple[ParityReport, float]:
    """Compare converted and trained network on validation texts. Returns the report, and the largest change of a logit.

    Raises:
        ParityError: a prediction differs, or a logit changed by more than rounding explains.
    """
    import torch

    got, expected = [], []
    run = _runner(made / MODEL)
    for ids in TextTokenizer(made).encode(texts, card.max_length):
        row = np.full((1, card.max_length), network.pad_id, np.int32)
        mask = np.zeros_like(row)
        row[0, : len(ids)], mask[0, : len(ids)] = ids, 1
        got.append(run(row, mask))
        with torch.inference_mode():
            alone = torch.tensor([ids])
            expected.append(network(alone, torch.ones_like(alone)).numpy())
    task = make_task(dataset.task_kind, dataset.facts)
    theirs, ours = np.concatenate(got), np.concatenate(expected)
    report = compared(task, theirs, ours, precision="fp32", what="the LiteRT model")
    change = float(np.abs(theirs - ours).max())
    if not change <= MOST_LOGIT_CHANGE * max(1.0, float(np.abs(ours).max())):
        raise BundleError(f"the LiteRT model differs from the trained network: a logit is off by {change:.2g}")
    return report, change


def _runner(path: Path) -> Any:
    """A function from ids and mask to logits."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    signature = interpreter.get_signature_runner()

    def run(ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        found = signature(**{IDS: ids, MASK: mask})
        return np.asarray(found[LOGITS], np.float32)

    return run
